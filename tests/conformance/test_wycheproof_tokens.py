"""Wycheproof's JWS and JWK cases against the reader of identity tokens: every invalid one refused, by whichever check.

Of the valid ones those are refused that use what this reader never takes: symmetric keys (a verifier that can sign
proves nothing), and keys whose stated algorithm is not the token's, or none that exists ("ES521").
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gateway.identity.jwk import ALGORITHMS, BadKeySet, public_keys
from gateway.identity.jws import BadJws, check_signature, parse_jws

pytestmark = pytest.mark.peers


def groups(vectors: Path, name: str) -> list[dict[str, Any]]:
    path = vectors / "wycheproof" / f"{name}_test.json"
    if not path.is_file():
        pytest.skip("no Wycheproof vectors here")
    found: list[dict[str, Any]] = json.loads(path.read_text())["testGroups"]
    return found


def verdict(jwk: dict[str, Any], token: object) -> str:
    """ "accepted", or why not."""
    if not isinstance(token, str):
        return "malformed"
    try:
        check_signature(parse_jws(token), public_keys(jwk if "keys" in jwk else {"keys": [jwk]}), ALGORITHMS)
    except BadKeySet:
        return "key set"
    except BadJws as error:
        return error.why
    return "accepted"


def not_ours(jwk: dict[str, Any], token: str) -> bool:
    """A valid case that uses what is never taken here."""
    keys = jwk.get("keys", [jwk])
    parsed = None if any(key["kty"] == "oct" for key in keys) else parse_jws(token)
    return parsed is None or any(key.get("alg", parsed.header["alg"]) != parsed.header["alg"] for key in keys)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("json_web_signature", {"valid accepted": 32, "valid not ours": 14, "invalid refused": 355}),
        ("json_web_key", {"valid accepted": 1, "valid not ours": 4, "invalid refused": 21}),
    ],
)
def test_every_case(vectors: Path, name: str, expected: dict[str, int]) -> None:
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for group in groups(vectors, name):
        jwk = group.get("public") or group["private"]
        for case in group["tests"]:
            found = verdict(jwk, case["jws"])
            reasons[found] += 1
            if case["result"] == "invalid":
                assert found != "accepted", case
                counts["invalid refused"] += 1
            elif found == "accepted":
                counts["valid accepted"] += 1
            else:
                assert not_ours(jwk, case["jws"]), case
                counts["valid not ours"] += 1
    print(name, dict(counts), dict(reasons))
    assert counts == expected
