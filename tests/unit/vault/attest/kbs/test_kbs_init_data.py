"""Init data counts only where verified evidence commits to it."""

import hashlib
from typing import Any

import pytest

from vault.attest.kbs.init_data import check_init_data
from vault.errors import Refused

BODY = 'version = "0.1.0"\nalgorithm = "sha384"\n[data]\n"aa.toml" = "x"\n'
DIGEST = hashlib.sha384(BODY.encode()).digest()
SHORT = BODY.replace("sha384", "sha-256")
SHORT_DIGEST = hashlib.sha256(SHORT.encode()).digest()


def given(body: Any = BODY, **changes: Any) -> dict[str, Any]:
    return {"format": "toml", "body": body} | changes


def claims(**platform: str) -> dict[str, Any]:
    return {"platform": platform}


def test_each_kind_carries_the_hash_in_a_place_of_its_own() -> None:
    assert check_init_data("snp", given(), claims(host_data=DIGEST[:32].hex())) == DIGEST.hex()
    assert check_init_data("tdx", given(), claims(mrconfigid=DIGEST.hex())) == DIGEST.hex()
    assert check_init_data("tdx", given(SHORT), claims(mrconfigid=(SHORT_DIGEST + bytes(16)).hex()))
    extended = hashlib.sha256(bytes(32) + SHORT_DIGEST).hexdigest()
    for tee in ("tpm", "az-snp-vtpm", "az-tdx-vtpm"):
        assert check_init_data(tee, given(SHORT), claims(pcr8=extended)) == SHORT_DIGEST.hex()


@pytest.mark.parametrize(
    ("tee", "init_data", "platform", "reason"),
    [
        ("snp", given(), {"host_data": "00" * 32}, "attest.host-data"),
        ("snp", given(), {}, "attest.host-data"),
        ("snp", given(), {"mrconfigid": DIGEST.hex()}, "attest.host-data"),
        (
            "az-snp-vtpm",
            given(),
            {"host_data": DIGEST[:32].hex()},
            "attest.host-data",
        ),  # the paravisor's, not the guest's
        ("sample", given(), {}, "attest.host-data"),
        ("snp", given(format="json"), {}, "attest.malformed"),
        ("snp", given(7), {}, "attest.malformed"),
        ("snp", {"format": "toml"}, {}, "attest.malformed"),
        ("snp", given("["), {}, "attest.malformed"),
        ("snp", given("a = " + "[" * 100_000), {}, "attest.malformed"),
        ("snp", given('algorithm = "sm3"'), {}, "attest.malformed"),
        ("snp", given("algorithm = 7"), {}, "attest.malformed"),
        ("snp", given("#" * 300_000), {}, "attest.malformed"),
        ("snp", given("#" * 5_000 + '\nalgorithm = "sha384"'), {}, "attest.malformed"),
        ("snp", given('[data]\nalgorithm = "sha384"'), {}, "attest.malformed"),
        ("snp", given('algorithm = "sha384"\n[a]\nb = "\ud800"'), {}, "attest.malformed"),
    ],
)
def test_otherwise_it_is_refused(tee: str, init_data: dict[str, Any], platform: dict[str, str], reason: str) -> None:
    with pytest.raises(Refused) as caught:
        check_init_data(tee, init_data, claims(**platform))
    assert caught.value.reason == reason
