"""Tokens of this zone read back: by one key and algorithm, of this issuer and profile, in their time."""

from typing import Any

import pytest

from tests.fakes.attest_kbs import TeeKeyPair
from tests.fakes.attest_pki import NOW_MS
from vault.attest.kbs.result import LIFETIME_S, Verified, claimed_id, read_result, result_claims
from vault.errors import Refused
from vault.keys.token_signing import TokenSigner

SIGNER, ISSUER, TOKEN_ID = TokenSigner(bytes(32)), "demesne:main/de", "ab" * 32
KEY = TeeKeyPair().jwk
MODULE = {"tier": "warning", "vector": {"hardware": "affirming", "executables": "warning"}}
APPRAISAL = {"tier": "warning", "policy": "r1", "submods": {"cpu0": MODULE, "gpu0": MODULE}}
CLAIMS = {"kind": "snp", "devices": [{"kind": "nvgpu"}]}


def claims(**changes: Any) -> dict[str, Any]:
    proved = Verified("00" * 32, "snp", KEY, CLAIMS, "11" * 64, "", NOW_MS, "s" * 32)
    made = result_claims(proved, APPRAISAL, issuer=ISSUER, build="b", token_id=TOKEN_ID, now_ms=NOW_MS)
    return made | changes


def test_a_token_says_handshake_session_and_key() -> None:
    token = SIGNER.sign(claims())
    found = read_result(token, SIGNER.jwk, ISSUER, NOW_MS)
    assert (found.token_id, found.session, dict(found.tee_pubkey)) == (TOKEN_ID, "s" * 32, KEY)
    assert claimed_id(token) == TOKEN_ID


def test_devices_have_their_verdict_and_not_the_machines_evidence() -> None:
    submods = claims()["submods"]
    assert submods["gpu0"]["ear.trustworthiness-vector"]["executables"] == 32
    assert set(submods["gpu0"]["ear.veraison.annotated-evidence"]) == {"runtime_data_claims"}
    assert submods["cpu0"]["ear.veraison.annotated-evidence"]["snp"] == {"kind": "snp"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": "demesne:main/fr"}, "attest.unknown-version"),
        ({"eat_profile": "tag:github.com,2023:veraison/ear"}, "attest.unknown-version"),
        ({"exp": NOW_MS // 1000}, "attest.expired"),
        ({"iat": NOW_MS // 1000 - LIFETIME_S - 1}, "attest.expired"),
        ({"nbf": NOW_MS // 1000 + 120}, "attest.expired"),
        ({"jti": ""}, "attest.malformed"),
        ({"submods": {}}, "attest.malformed"),
        ({"submods": {"cpu0": {}}}, "attest.malformed"),
    ],
)
def test_another_token_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Refused) as caught:
        read_result(SIGNER.sign(claims(**changes)), SIGNER.jwk, ISSUER, NOW_MS)
    assert caught.value.reason == reason


def test_another_zones_key_signs_nothing_here() -> None:
    token = TokenSigner(b"\1" * 32).sign(claims())
    with pytest.raises(Refused):
        read_result(token, SIGNER.jwk, ISSUER, NOW_MS)
