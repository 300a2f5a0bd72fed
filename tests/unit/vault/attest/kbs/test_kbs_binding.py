"""What evidence commits to in Trustee's protocol, compared with a second spelling of its document."""

import hashlib
import json

import pytest

from tests.fakes.attest_kbs import TeeKeyPair, b64
from vault.attest.kbs.binding import KbsBinding, nonce_hex, nonce_text
from vault.errors import Refused

NONCE = bytes(range(32))
KEY = TeeKeyPair().jwk


def canonical(document: object) -> bytes:
    """All members and values are ASCII text here: sorted and compact is canonical."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


@pytest.mark.parametrize("additional", ["", '{"nvidia":{"device_evidence_list":[]}}'])
def test_the_digest_is_sha_384_of_the_sorted_document(additional: str) -> None:
    said = {"additional-evidence": additional, "nonce": b64(NONCE), "tee-pubkey": KEY}
    digest = hashlib.sha384(canonical(said)).digest()

    def of(tee: str) -> bytes:
        return KbsBinding(tee, NONCE.hex(), KEY, additional).report_data()

    assert of("snp") == of("tdx") == of("sample") == digest + bytes(16)
    assert of("az-snp-vtpm") == of("az-tdx-vtpm") == digest
    assert of("tpm") == digest[:32]


def test_a_device_answers_without_the_additional_evidence() -> None:
    digest = hashlib.sha384(canonical({"nonce": b64(NONCE), "tee-pubkey": KEY})).digest()
    for additional in ("", "{}"):
        assert KbsBinding("snp", NONCE.hex(), KEY, additional).device_nonce() == digest[:32]


def test_every_part_of_it_counts() -> None:
    first = KbsBinding("snp", NONCE.hex(), KEY, "{}")
    others = (
        KbsBinding("snp", NONCE[::-1].hex(), KEY, "{}"), KbsBinding("snp", NONCE.hex(), TeeKeyPair().jwk, "{}"),
        KbsBinding("snp", NONCE.hex(), KEY, "{} "), KbsBinding("snp", NONCE.hex(), KEY | {"alg": "x"}, "{}"),
    )  # fmt: skip
    assert len({binding.report_data() for binding in (first, *others)}) == 5


def test_a_nonce_has_one_spelling_in_base64() -> None:
    assert nonce_hex(nonce_text(NONCE.hex())) == NONCE.hex()
    good = b64(b"\xff" * 31 + b"\xfe")
    assert nonce_hex(good) == "ff" * 31 + "fe"
    for text in (
        good.rstrip("="), good.replace("/", "_"), good[:-2] + "/=", good + "\n", " " + good, b64(bytes(31)),
        b64(bytes(33)), NONCE.hex(), "", "é" * 44, None, 7, [good],
    ):  # fmt: skip
        with pytest.raises(Refused) as caught:
            nonce_hex(text)
        assert caught.value.reason == "attest.nonce"


def test_text_without_a_canonical_form_is_refused() -> None:
    with pytest.raises(Refused) as caught:
        KbsBinding("snp", NONCE.hex(), KEY, "\ud800").report_data()
    assert caught.value.reason == "attest.malformed"
