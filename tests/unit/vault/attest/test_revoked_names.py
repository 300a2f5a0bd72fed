"""What a revocation is found again by."""

import pytest

from vault.attest.identities import revocable, value_digest

CHIP = "3ac3fe21e13fb0990eb28a802e3fb6a29483a6b0753590c951bdd3b8e53786184ca39e359669a2b76a1936776b564ea4"


@pytest.mark.parametrize("spelled", [CHIP, CHIP.upper(), CHIP[:8].upper() + CHIP[8:]])
def test_a_chip_is_revoked_however_its_hex_is_spelled(spelled: str) -> None:
    named = revocable("p", {"measurement": "11", "platform": {"chip_id": CHIP}})
    assert ("platform", value_digest(spelled)) in named


def test_names_that_are_no_hex_keep_their_case() -> None:
    assert value_digest("Genoa") != value_digest("genoa")
    assert value_digest("AKTRAINER") != value_digest("aktrainer")
