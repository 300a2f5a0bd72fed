"""TDX: what dcap-qvl, an implementation of others, refuses, ours refuses; what ours refuses besides, it has a name for.

The same quotes, collateral and time go to both, over a root of our own making (and over real evidence where it is
beside the project). Names differ between the two, verdicts must not: a quote that only ours accepts is a hole.
"""

import dataclasses
import json
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.attest_intel import FakeIntel, ca, leaf, p256, when
from tests.fakes.attest_pki import NOW, NOW_MS, revocations
from vault.attest.tdx.collateral import Collateral, parse_collateral
from vault.attest.tdx.pck import ROOTS
from vault.attest.tdx.verify import TdxPolicy, verify_tdx
from vault.errors import Refused

dcap_qvl = pytest.importorskip("dcap_qvl")

POLICY = TdxPolicy()
OURS_ALONE = {
    # Checks that dcap-qvl leaves to whoever calls it, or that are about more than its verdict.
    "attest.debug", "attest.policy", "attest.binding", "attest.platform", "attest.measurement", "attest.host-data",
    "attest.event-log",
}  # fmt: skip
STRICTER = {
    "module old now": "the module's own numbers after an update of it are judged by the module's levels too",
    "another PCE": "TCB info of another PCE says nothing of this platform",
}


def exchanged(collateral: Collateral, chain: bytes) -> str:
    """The document that the public DCAP tools exchange; `chain` is the PCK's issuer chain."""
    document = {
        "pck_crl_issuer_chain": chain.decode(), "root_ca_crl": collateral.root_ca_crl.hex(),
        "pck_crl": collateral.pck_crl.hex(), "tcb_info_issuer_chain": collateral.tcb_info_issuer_chain.decode(),
        "tcb_info": collateral.tcb_info, "tcb_info_signature": collateral.tcb_info_signature.hex(),
        "qe_identity_issuer_chain": collateral.qe_identity_issuer_chain.decode(),
        "qe_identity": collateral.qe_identity, "qe_identity_signature": collateral.qe_identity_signature.hex(),
    }  # fmt: skip
    return json.dumps(document)


def theirs(root: bytes | None, raw: bytes, collateral: str, now: datetime) -> str:
    """Its words when it refuses; nothing when it accepts."""
    seconds = int(now.timestamp())
    policy = dcap_qvl.QuotePolicy.strict(seconds).allow_dynamic_platform(True).allow_cached_keys(True).allow_smt(True)
    try:
        parsed = dcap_qvl.QuoteCollateralV3.from_json(collateral)
        dcap_qvl.QuoteVerifier(root).verify_with_policy(raw, parsed, seconds, policy)
    except ValueError as error:
        return str(error) or "refused"
    return ""


def ours(roots: frozenset[str], raw: bytes, collateral: Collateral, now_ms: int) -> str:
    try:
        verify_tdx(raw, collateral, roots, POLICY, None, now_ms)
    except Refused as refused:
        return refused.reason
    return ""


def both(intel: FakeIntel, raw: bytes, collateral: Collateral) -> tuple[str, str]:
    document = exchanged(collateral, intel.ca.pem + intel.root.pem)
    return ours(intel.roots, raw, collateral, NOW_MS), theirs(intel.root.der, raw, document, NOW)


def agree(name: str, mine: str, other: str) -> None:
    """Both refuse; or ours alone, for a reason that is known here."""
    assert mine, name
    if not other:
        assert mine in OURS_ALONE or name in STRICTER, f"{name}: dcap-qvl accepts, ours says {mine}"


@pytest.fixture(scope="module")
def intel() -> FakeIntel:
    return FakeIntel()


@pytest.mark.parametrize("version", [4, 5])
def test_both_accept_what_is_genuine(intel: FakeIntel, version: int) -> None:
    assert both(intel, intel.quote(version), intel.collateral()) == ("", "")


QUOTES: Mapping[str, Mapping[str, Any]] = {
    "version 3": {"number": 3}, "not a trust domain": {"tee": 0}, "key type": {"key_type": 3},
    "vendor": {"vendor": bytes(16)}, "signer": {"signer": "other"}, "enclave's signer": {"qe_signer": "other"},
    "zero key": {"key": bytes(64)}, "no chain": {"chain": b""}, "debug": {"attributes": 1 << 28 | 1},
    "untrusted bits": {"attributes": 1 << 28 | 2}, "module signer": {"mrsignerseam": b"\1" + bytes(47)},
    "module attributes": {"seam": b"\1" + bytes(7)}, "module unknown": {"tcb": bytes((3, 2)) + b"\2" * 14},
    "module revoked": {"tcb": bytes((1, 1)) + b"\2" * 14}, "module old": {"tcb": bytes((2, 1)) + b"\2" * 14},
    "module old now": {"version": 5, "tcb2": bytes((2, 1)) + b"\2" * 14},
    "component old now": {"version": 5, "tcb2": bytes((3, 1)) + b"\2" * 13 + b"\1"},
    "module unknown now": {"version": 5, "tcb2": bytes((3, 2)) + b"\2" * 14},
    "module old at first": {"version": 5, "tcb": bytes((2, 1)) + b"\2" * 14, "tcb2": bytes((3, 1)) + b"\2" * 14},
    "service domain": {"version": 5, "service": b"\1" + bytes(47)},
    "one component old": {"tcb": bytes((3, 1)) + b"\2" * 13 + b"\1"},
    "before modules": {"tcb": bytes((2, 0)) + b"\2" * 14},
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(QUOTES))
def test_a_quote_with_one_wrong_field(intel: FakeIntel, name: str) -> None:
    changes: dict[str, Any] = {field: p256() if value == "other" else value for field, value in QUOTES[name].items()}
    mine, other = both(intel, intel.quote(**changes), intel.collateral())
    agree(name, mine, other)


ENCLAVES: Mapping[str, Mapping[str, Any]] = {
    "mrsigner": {"mrsigner": b"R" * 32}, "product": {"product": 1}, "miscselect": {"miscselect": 1},
    "attributes": {"attributes": bytes.fromhex("13000000000000000000000000000000")}, "revoked": {"svn": 2},
    "old": {"svn": 3}, "unknown": {"svn": 1}, "another key": {"report_data": bytes(64)},
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(ENCLAVES))
def test_another_quoting_enclave(intel: FakeIntel, name: str) -> None:
    mine, other = both(intel, intel.quote(qe=intel.qe_report(**ENCLAVES[name])), intel.collateral())
    agree(name, mine, other)


PLATFORMS: Mapping[str, Mapping[str, Any]] = {
    "certificate ended": {"pck_shape": leaf(end=NOW - timedelta(1))},
    "not begun": {"pck_shape": leaf(start=NOW + timedelta(1))},
    "authority ended": {"ca_shape": ca(0, end=NOW - timedelta(1))}, "no authority": {"ca_shape": leaf()},
    "old component": {"components": (4,) + (5,) * 15}, "under all": {"components": (5,) * 15 + (3,)},
    "old pcesvn": {"pcesvn": 10}, "pcesvn under all": {"pcesvn": 4},
    "signer ended": {"signer_shape": leaf(end=NOW - timedelta(1))},
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(PLATFORMS))
def test_another_platform(name: str) -> None:
    intel = FakeIntel(**PLATFORMS[name])
    mine, other = both(intel, intel.quote(), intel.collateral())
    agree(name, mine, other)


def _collaterals(intel: FakeIntel) -> dict[str, Collateral]:
    stranger = FakeIntel()
    genuine = intel.collateral()
    swapped = intel.collateral(tcb_info_signature=genuine.qe_identity_signature)
    return {
        "ended": intel.collateral({"nextUpdate": when(NOW - timedelta(seconds=1))}),
        "not begun": intel.collateral({"issueDate": when(NOW + timedelta(seconds=60))}),
        "identity ended": intel.collateral(qe={"nextUpdate": when(NOW - timedelta(seconds=1))}),
        "of SGX": intel.collateral({"id": "SGX"}),
        "another family": intel.collateral({"fmspc": "B0C06F000001"}),
        "another PCE": intel.collateral({"pceId": "0001"}),
        "no levels": intel.collateral({"tcbLevels": []}),
        "no modules": intel.collateral({"tdxModuleIdentities": []}),
        "not up to date": intel.collateral({"tcbLevels": [intel.platform(5, 11, "OutOfDate")]}),
        "revoked": intel.collateral({"tcbLevels": [intel.platform(5, 11, "Revoked")]}),
        "hardening": intel.collateral({"tcbLevels": [intel.platform(5, 11, "SWHardeningNeeded")]}),
        "configuration": intel.collateral({"tcbLevels": [intel.platform(5, 11, "ConfigurationNeeded")]}),
        "a word of nobody": intel.collateral({"tcbLevels": [intel.platform(5, 11, "Splendid")]}),
        "a text changed": dataclasses.replace(genuine, tcb_info=genuine.tcb_info.replace('"FF', '"fF', 1)),
        "signature of the other": swapped,
        "another's": stranger.collateral(),
        "another's list": intel.collateral(pck_crl=stranger.collateral().pck_crl),
        "platform revoked": intel.collateral(pck_crl=revocations(intel.ca, (intel.pck,))),
        "authority revoked": intel.collateral(root_ca_crl=revocations(intel.root, (intel.ca,))),
        "signer revoked": intel.collateral(root_ca_crl=revocations(intel.root, (intel.signer,))),
        "no list": intel.collateral(pck_crl=b""),
    }  # fmt: skip


def test_other_collateral(intel: FakeIntel) -> None:
    for name, collateral in _collaterals(intel).items():
        mine, other = both(intel, intel.quote(), collateral)
        agree(name, mine, other)


@pytest.mark.parametrize("seed", range(4))
def test_changed_bytes(intel: FakeIntel, seed: int) -> None:
    """Bytes flipped, cut out, put in: never a quote that only ours accepts."""
    chance, genuine, collateral = random.Random(seed), intel.quote(4 + seed % 2), intel.collateral()
    for _ in range(60):
        at, raw = chance.randrange(len(genuine)), bytearray(genuine)
        how = chance.randrange(3)
        if how == 0:
            raw[at] ^= 1 << chance.randrange(8)
        elif how == 1:
            del raw[at : at + chance.randrange(1, 9)]
        else:
            raw[at:at] = chance.randbytes(chance.randrange(1, 9))
        mine, other = both(intel, bytes(raw), collateral)
        assert not other or mine, (how, at, other)


def _dates() -> list[datetime]:
    return [datetime(year, month, 15, tzinfo=UTC) for year in (2023, 2024, 2025, 2026) for month in (2, 6, 7, 8, 11)]


@pytest.mark.peers
def test_real_evidence(vectors: Path) -> None:
    """Every quote beside every collateral, at twenty dates."""
    folder = vectors / "attestation" / "tdx"
    quotes = [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and _is_quote(path)]
    documents = [path.read_text() for path in sorted(folder.rglob("*collateral*.json"))]
    assert quotes
    assert documents
    accepted = 0
    for raw in quotes:
        for document in documents:
            for now in _dates():
                mine = ours(ROOTS, raw, parse_collateral(json.loads(document)), int(now.timestamp() * 1000))
                other = theirs(None, raw, document, now)
                assert not other or mine, (now, other)
                accepted += not mine
    assert accepted


def _is_quote(path: Path) -> bool:
    head = path.read_bytes()[:8]
    return head[:2] in {b"\4\0", b"\5\0"} and head[4:8] == b"\x81\0\0\0"
