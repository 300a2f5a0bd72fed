"""TDX: genuine quotes give claims, and every check of the list has evidence that only it refuses."""

import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from tests.fakes.attest_intel import PPID, FakeIntel, ca, leaf, p256, when
from tests.fakes.attest_pki import NOW, NOW_MS, issue, revocations
from vault.attest.claims import Claims, Refusal
from vault.attest.tdx.collateral import Collateral, parse_collateral
from vault.attest.tdx.pck import ROOTS
from vault.attest.tdx.tcb import STATUSES, Level, converged
from vault.attest.tdx.verify import TdxPolicy, verified_quote, verify_tdx
from vault.errors import Refused

BOUND = b"\x5a" * 64


def verify(
    intel: FakeIntel, raw: bytes | None = None, *, collateral: Collateral | None = None,
    policy: TdxPolicy | None = None, roots: frozenset[str] | None = None, bound: bytes | None = BOUND,
    now_ms: int = NOW_MS,
) -> Claims:  # fmt: skip
    return verify_tdx(
        intel.quote() if raw is None else raw, intel.collateral() if collateral is None else collateral,
        intel.roots if roots is None else roots, policy or TdxPolicy(), bound, now_ms,
    )  # fmt: skip


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        call()
    assert caught.value.reason in set(Refusal)
    return caught.value.reason.removeprefix("attest.")


@pytest.fixture(scope="module")
def intel() -> FakeIntel:
    return FakeIntel()


@pytest.mark.parametrize(
    "changes", [{}, {"version": 5}, {"version": 5, "short": True}, {"tail": bytes(70)}, {"tail": b"\1" * 39}],
    ids=["v4", "v5-td15", "v5-td10", "zero-tail", "tail"],
)  # fmt: skip
def test_genuine_quotes_give_claims(intel: FakeIntel, changes: dict[str, Any]) -> None:
    claims = verify(intel, intel.quote(**changes))
    assert (claims.kind, claims.tee, claims.debug, claims.hardware, claims.synthetic_only) == (
        "tdx", "tdx", False, True, False,
    )  # fmt: skip
    assert claims.measurement == "11" * 48
    platform = claims.as_document()["platform"]
    assert (platform["tcb_status"], platform["advisories"], platform["evaluation_number"]) == ("UpToDate", [], 17)
    assert (platform["bound"], platform["event_log"], platform["ppid"]) == (True, False, PPID.hex())
    assert platform["rtmr3"] == "04" * 48


def test_a_quote_whose_binding_nobody_looked_at_says_so(intel: FakeIntel) -> None:
    assert verify(intel, bound=None).platform["bound"] is False


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"number": 3}, "unknown-version"),
        ({"number": 6}, "unknown-version"),
        ({"tee": 0}, "unknown-kind"),
        ({"tee": 0x82}, "unknown-kind"),
        ({"key_type": 3}, "algorithm"),
        ({"vendor": bytes(16)}, "qe-identity"),
        ({"version": 5, "body_type": 1}, "unknown-version"),
        ({"version": 5, "body_type": 4}, "unknown-version"),
        ({"version": 5, "body_size": 584}, "malformed"),
        ({"type6": 5}, "malformed"),
        ({"type5": 1}, "malformed"),
        ({"tail": bytes(20_000)}, "malformed"),
        ({"signer": p256()}, "signature"),
        ({"qe_signer": p256()}, "signature"),
        ({"key": bytes(64)}, "signature"),
        ({"chain": b""}, "malformed"),
        ({"chain": b"text"}, "malformed"),
        ({"attributes": 1 << 28 | 1}, "debug"),
        ({"attributes": 1 << 28 | 2}, "policy"),
        ({"attributes": 1 << 28 | 0x80}, "policy"),
        ({"attributes": 1 << 28 | 1 << 29}, "policy"),
        ({"attributes": 1 << 28 | 1 << 40}, "policy"),
        ({"attributes": 0}, "policy"),
        ({"report_data": bytes(64)}, "binding"),
        ({"report_data": BOUND[:63] + b"\x5b"}, "binding"),
        ({"mrsignerseam": b"\1" + bytes(47)}, "module"),
        ({"seam": b"\1" + bytes(7)}, "module"),
        ({"tcb": bytes((3, 2)) + b"\2" * 14}, "module"),
        ({"tcb": bytes((1, 1)) + b"\2" * 14}, "module"),
        ({"tcb": bytes((2, 1)) + b"\2" * 14}, "tcb"),
        ({"tcb": bytes((3, 1)) + b"\2" * 13 + b"\1"}, "tcb"),
        ({"tcb": bytes((2, 0)) + b"\2" * 14}, "tcb"),
        ({"version": 5, "tcb2": bytes((2, 1)) + b"\2" * 14}, "tcb"),
        ({"version": 5, "tcb2": bytes((3, 1)) + b"\2" * 13 + b"\1"}, "tcb"),
        ({"version": 5, "tcb2": bytes((3, 2)) + b"\2" * 14}, "module"),
        ({"version": 5, "tcb": bytes((2, 1)) + b"\2" * 14, "tcb2": bytes((3, 1)) + b"\2" * 14}, "tcb"),
        ({"version": 5, "service": b"\1" + bytes(47)}, "policy"),
    ],
)
def test_a_signed_quote_with_one_wrong_field_is_refused(intel: FakeIntel, changes: dict[str, Any], reason: str) -> None:
    assert refusal(lambda: verify(intel, intel.quote(**changes))) == reason


@pytest.mark.parametrize("field", [{"mrsignerseam": b"\1" + bytes(47)}, {"seam": b"\1" + bytes(7)}])
def test_a_module_without_a_version_is_judged_too(intel: FakeIntel, field: dict[str, Any]) -> None:
    level = intel.platform(5, 11)
    level["tcb"]["tdxtcbcomponents"][1]["svn"] = 0
    collateral = intel.collateral({"tcbLevels": [level]})
    assert verify(intel, intel.quote(tcb=b"\3\0" + b"\2" * 14), collateral=collateral).hardware
    raw = intel.quote(tcb=b"\3\0" + b"\2" * 14, **field)
    assert refusal(lambda: verify(intel, raw, collateral=collateral)) == "module"


@pytest.mark.parametrize(
    ("qe", "reason"),
    [
        ({"mrsigner": b"R" * 32}, "qe-identity"),
        ({"product": 1}, "qe-identity"),
        ({"miscselect": 1}, "qe-identity"),
        ({"attributes": bytes.fromhex("13000000000000000000000000000000")}, "qe-identity"),
        ({"svn": 1}, "qe-identity"),
        ({"svn": 3}, "tcb"),
        ({"svn": 2}, "tcb"),
        ({"report_data": bytes(64)}, "signature"),
    ],
)
def test_another_enclave_than_intels_is_refused(intel: FakeIntel, qe: dict[str, Any], reason: str) -> None:
    """A certified enclave of anybody may sign anything; only Intel's vouches for trust domains."""
    assert refusal(lambda: verify(intel, intel.quote(qe=intel.qe_report(**qe)))) == reason


def test_authentication_data_is_committed_to(intel: FakeIntel) -> None:
    report = intel.qe_report(report_data=intel.commitment()[:63] + b"\1")
    assert refusal(lambda: verify(intel, intel.quote(qe=report))) == "signature"


def test_an_attestation_key_off_the_curve_is_refused(intel: FakeIntel) -> None:
    commitment = hashlib.sha256(bytes(64) + b"auth" * 8).digest() + bytes(32)
    raw = intel.quote(key=bytes(64), qe=intel.qe_report(report_data=commitment))
    assert refusal(lambda: verify(intel, raw)) == "signature"


def test_masked_bits_of_the_enclave_do_not_matter(intel: FakeIntel) -> None:
    report = intel.qe_report(attributes=bytes.fromhex("15000000000000000700000000000000"))
    assert verify(intel, intel.quote(qe=report)).hardware


def test_roots(intel: FakeIntel) -> None:
    assert refusal(lambda: verify(intel, roots=frozenset())) == "no-trust"
    assert refusal(lambda: verify(intel, roots=ROOTS)) == "chain"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"pck_shape": leaf(end=NOW - timedelta(seconds=1))}, "expired"),
        ({"pck_shape": leaf(start=NOW + timedelta(seconds=1))}, "expired"),
        ({"ca_shape": ca(0, end=NOW - timedelta(1))}, "expired"),
        ({"root_shape": ca(1, end=NOW - timedelta(1))}, "expired"),
        ({"ca_shape": leaf()}, "chain"),
        ({"root_shape": ca(0)}, "chain"),
        ({"pck_name": "Intel SGX TCB Signing"}, "chain"),
        ({"ca_name": "Intel SGX Other CA"}, "chain"),
        ({"pck_curve": ec.SECP384R1()}, "algorithm"),
        ({"extension": b""}, "chain"),
        ({"extension": b"\x30\x00"}, "malformed"),
        ({"extension": b"\x31\x00"}, "malformed"),
        ({"extension": b"\x30\x80\x00\x00"}, "malformed"),
        ({"extension": b"\x30\x82\xff\xff"}, "malformed"),
        ({"extension": b"\x30\x02\x30\x00"}, "malformed"),
        ({"components": (4,) + (5,) * 15}, "tcb"),
        ({"components": (5,) * 15 + (3,)}, "tcb"),
        ({"pcesvn": 10}, "tcb"),
        ({"pcesvn": 4}, "tcb"),
        ({"signer_shape": leaf(end=NOW - timedelta(1))}, "collateral"),
        ({"signer_name": "Intel SGX PCK Certificate"}, "collateral"),
    ],
)
def test_a_certificate_that_is_wrong_in_one_way_is_refused(changes: dict[str, Any], reason: str) -> None:
    intel = FakeIntel(**changes)
    assert refusal(lambda: verify(intel)) == reason


def test_a_chain_of_two_is_no_provisioning_chain(intel: FakeIntel) -> None:
    """The root issues the TCB signer directly; its key must not be able to vouch for a platform."""
    raw = intel.quote(chain=intel.signer.pem + intel.root.pem, qe_signer=intel.signer.key)
    assert refusal(lambda: verify(intel, raw)) == "chain"


@pytest.mark.parametrize("platform", ["processor"])
def test_processor_authorities_count(platform: str) -> None:
    assert verify(FakeIntel(ca_name=f"Intel SGX PCK {platform.title()} CA")).hardware


def test_no_collateral_is_a_refusal(intel: FakeIntel) -> None:
    call = lambda: verify_tdx(intel.quote(), None, intel.roots, TdxPolicy(), BOUND, NOW_MS)  # noqa: E731
    assert refusal(call) == "collateral"
    assert verified_quote(intel.quote(), intel.roots, NOW_MS)[0].report_data == BOUND


@pytest.mark.parametrize(
    ("tcb", "reason"),
    [
        ({"nextUpdate": when(NOW - timedelta(seconds=1))}, "collateral"),
        ({"issueDate": when(NOW + timedelta(seconds=1))}, "collateral"),
        ({"issueDate": "yesterday"}, "collateral"),
        ({"issueDate": None}, "collateral"),
        ({"issueDate": when(NOW - timedelta(30))}, "collateral"),
        ({"id": "SGX"}, "collateral"),
        ({"id": "TD_QE"}, "collateral"),
        ({"version": 2}, "collateral"),
        ({"fmspc": "B0C06F000001"}, "fmspc"),
        ({"fmspc": "B0C0"}, "collateral"),
        ({"fmspc": 7}, "collateral"),
        ({"pceId": "0001"}, "fmspc"),
        ({"tcbEvaluationDataNumber": "17"}, "collateral"),
        ({"tcbEvaluationDataNumber": True}, "collateral"),
        ({"tcbLevels": []}, "tcb"),
        ({"tcbLevels": None}, "collateral"),
        ({"tcbLevels": [7]}, "collateral"),
        ({"tcbLevels": [{"tcb": 1}]}, "collateral"),
        ({"tdxModuleIdentities": []}, "module"),
        ({"tdxModuleIdentities": 1}, "collateral"),
        ({"x": 1.5}, "collateral"),
    ],
)
def test_signed_tcb_info_that_does_not_hold_is_refused(intel: FakeIntel, tcb: dict[str, Any], reason: str) -> None:
    assert refusal(lambda: verify(intel, collateral=intel.collateral(tcb))) == reason


@pytest.mark.parametrize(
    "status", ["SWHardeningNeeded", "ConfigurationNeeded", "OutOfDate", "Revoked", "Splendid", None, ["UpToDate"]]
)
def test_a_level_that_is_not_up_to_date_is_refused(intel: FakeIntel, status: str | None) -> None:
    level = intel.platform(5, 11, status)  # type: ignore[arg-type]
    collateral = intel.collateral({"tcbLevels": [level]})
    known = isinstance(status, str) and status in STATUSES
    assert refusal(lambda: verify(intel, collateral=collateral)) == ("tcb" if known else "collateral")
    if status == "Revoked":
        policy = TdxPolicy(statuses=frozenset({"Revoked"}))
        assert refusal(lambda: verify(intel, collateral=collateral, policy=policy)) == "tcb"
    elif known:
        claims = verify(intel, collateral=collateral, policy=TdxPolicy(statuses=frozenset({str(status)})))
        assert claims.platform["tcb_status"] == status


def test_advisories_are_a_list_of_texts(intel: FakeIntel) -> None:
    for bad in ("INTEL-SA-1", [1], None):
        level = intel.platform(5, 11) | {"advisoryIDs": bad}
        collateral = intel.collateral({"tcbLevels": [level]})
        assert refusal(lambda c=collateral: verify(intel, collateral=c)) == "collateral"  # type: ignore[misc]


@pytest.mark.parametrize("status", ["SWHardeningNeeded", "ConfigurationNeeded", "Splendid"])
def test_an_enclave_has_fewer_statuses(intel: FakeIntel, status: str) -> None:
    qe = intel.collateral(qe={"tcbLevels": [intel.level({"isvsvn": 4}, status)]})
    assert refusal(lambda: verify(intel, collateral=qe)) == "collateral"


def test_a_level_of_fifteen_components_is_refused(intel: FakeIntel) -> None:
    level = intel.platform(5, 11)
    level["tcb"]["sgxtcbcomponents"].pop()
    assert refusal(lambda: verify(intel, collateral=intel.collateral({"tcbLevels": [level]}))) == "collateral"


@pytest.mark.parametrize(
    ("qe", "reason"),
    [
        ({"nextUpdate": when(NOW - timedelta(seconds=1))}, "collateral"),
        ({"issueDate": when(NOW + timedelta(seconds=1))}, "collateral"),
        ({"issueDate": when(NOW - timedelta(31))}, "collateral"),
        ({"id": "QE"}, "collateral"),
        ({"version": 1}, "collateral"),
        ({"attributesMask": "zz"}, "collateral"),
        ({"isvprodid": None}, "collateral"),
        ({"tcbEvaluationDataNumber": 70000}, "collateral"),
    ],
)
def test_a_signed_identity_that_does_not_hold_is_refused(intel: FakeIntel, qe: dict[str, Any], reason: str) -> None:
    assert refusal(lambda: verify(intel, collateral=intel.collateral(qe=qe))) == reason


@pytest.mark.parametrize("name", ["tcb", "qe"])
def test_the_verbatim_json_is_what_is_signed(intel: FakeIntel, name: str) -> None:
    good = intel.collateral()
    text = good.tcb_info if name == "tcb" else good.qe_identity
    field = "tcb_info" if name == "tcb" else "qe_identity"
    respelt = intel.collateral(**{field: text.replace(":", ": ")})
    assert refusal(lambda: verify(intel, collateral=respelt)) == "collateral"
    for bad in (bytes(64), b"", intel.sign(text) + b"\0", intel.sign(text, intel.pck)):
        other = intel.collateral(**{f"{field}_signature": bad})
        assert refusal(lambda c=other: verify(intel, collateral=c)) == "collateral"  # type: ignore[misc]


@pytest.mark.parametrize("text", ["[]", "7", "{", '{"id":"TDX","id":"TDX"}', "[" * 100_000, '{"a":NaN}', '{"a":1e5}'])
def test_signed_json_of_another_shape_is_refused(intel: FakeIntel, text: str) -> None:
    assert refusal(lambda: verify(intel, collateral=intel.collateral(text))) == "collateral"


def test_signed_json_with_a_repeated_member_is_refused(intel: FakeIntel) -> None:
    text = intel.collateral().tcb_info
    twice = text.replace('"tcbType":0', '"tcbType":0,"tcbType":0')
    assert twice != text
    assert refusal(lambda: verify(intel, collateral=intel.collateral(twice))) == "collateral"


def test_collateral_of_another_signer_is_refused(intel: FakeIntel) -> None:
    """A provisioning certificate is of the same root: the platform's owner must not sign his own TCB info."""
    text = intel.collateral().tcb_info
    chain = intel.pck.pem + intel.ca.pem + intel.root.pem
    own = intel.collateral(tcb_info_signature=intel.sign(text, intel.pck), tcb_info_issuer_chain=chain)
    assert refusal(lambda: verify(intel, collateral=own)) == "collateral"
    stranger = FakeIntel()
    forged = stranger.collateral(root_ca_crl=revocations(intel.root), pck_crl=revocations(intel.ca))
    assert refusal(lambda: verify(intel, collateral=forged)) == "collateral"


@pytest.mark.parametrize("which", ["pck", "ca", "signer"])
def test_a_revoked_certificate_is_refused(intel: FakeIntel, which: str) -> None:
    lists = {
        "pck": {"pck_crl": revocations(intel.ca, [intel.pck])},
        "ca": {"root_ca_crl": revocations(intel.root, [intel.ca])},
        "signer": {"root_ca_crl": revocations(intel.root, [intel.signer])},
    }
    assert refusal(lambda: verify(intel, collateral=intel.collateral(**lists[which]))) == "revoked"


@pytest.mark.parametrize("which", ["root_ca_crl", "pck_crl"])
def test_a_revocation_list_that_does_not_hold_is_refused(intel: FakeIntel, which: str) -> None:
    issuer = intel.root if which == "root_ca_crl" else intel.ca
    impostor = issue("Intel SGX Root CA" if which == "root_ca_crl" else intel.ca_name, p256(), None, ca())
    other = intel.ca if which == "root_ca_crl" else intel.root
    for bad in (
        b"", b"\x30\x00", revocations(issuer, end=NOW - timedelta(hours=1)), revocations(impostor),
        revocations(other), revocations(issuer, start=NOW + timedelta(hours=1)), bytes(2 << 20),
    ):  # fmt: skip
        collateral = intel.collateral(**{which: bad})
        assert refusal(lambda c=collateral: verify(intel, collateral=c)) == "collateral"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (TdxPolicy(statuses=frozenset()), "tcb"),
        (TdxPolicy(min_evaluation_number=18), "collateral"),
        (TdxPolicy(max_collateral_age_days=2), "collateral"),
        (TdxPolicy(platforms=frozenset()), "platform"),
        (TdxPolicy(denied_platforms=frozenset({PPID})), "platform"),
        (TdxPolicy(measurements=frozenset()), "measurement"),
        (TdxPolicy(measurements=frozenset({b"\x10" * 48})), "measurement"),
        (TdxPolicy(rtmrs={2: {bytes(48)}}), "measurement"),
        (TdxPolicy(config_ids=frozenset({bytes(48)})), "host-data"),
        (TdxPolicy(xfams=frozenset({3})), "policy"),
        (TdxPolicy(needs_event_log=True), "event-log"),
    ],
)
def test_what_an_operator_asks_is_asked(intel: FakeIntel, policy: TdxPolicy, reason: str) -> None:
    assert refusal(lambda: verify(intel, policy=policy)) == reason


def test_what_an_operator_asks_can_be_met(intel: FakeIntel) -> None:
    policy = TdxPolicy(
        min_evaluation_number=17, max_collateral_age_days=3, platforms=frozenset({PPID}), xfams=frozenset({0x602E7}),
        measurements=frozenset({b"\x11" * 48}), rtmrs={0: {b"\1" * 48}}, config_ids=frozenset({b"\x12" * 48}),
    )  # fmt: skip
    assert verify(intel, policy=policy).hardware


@pytest.mark.parametrize(
    ("platform", "other", "expected"),
    [
        ("UpToDate", "UpToDate", "UpToDate"),
        ("UpToDate", "OutOfDate", "OutOfDate"),
        ("SWHardeningNeeded", "OutOfDate", "OutOfDate"),
        ("ConfigurationNeeded", "OutOfDate", "OutOfDateConfigurationNeeded"),
        ("ConfigurationAndSWHardeningNeeded", "OutOfDate", "OutOfDateConfigurationNeeded"),
        ("OutOfDate", "UpToDate", "OutOfDate"),
        ("OutOfDateConfigurationNeeded", "OutOfDate", "OutOfDateConfigurationNeeded"),
        ("UpToDate", "Revoked", "Revoked"),
        ("Revoked", "OutOfDate", "Revoked"),
    ],
)
def test_levels_converge_to_the_worse(platform: str, other: str, expected: str) -> None:
    level = converged(Level(platform, ("B",)), Level("UpToDate", ()), Level(other, ("A", "B")))
    assert level == Level(expected, ("A", "B"))


def test_collateral_arrives_as_one_document(intel: FakeIntel) -> None:
    good = intel.collateral()
    document = {
        "tcb_info": good.tcb_info, "tcb_info_signature": good.tcb_info_signature.hex(),
        "tcb_info_issuer_chain": good.tcb_info_issuer_chain.decode(), "qe_identity": good.qe_identity,
        "qe_identity_signature": good.qe_identity_signature.hex(), "pck_crl": good.pck_crl.hex(),
        "qe_identity_issuer_chain": good.qe_identity_issuer_chain.decode(), "root_ca_crl": good.root_ca_crl.hex(),
    }  # fmt: skip
    assert parse_collateral(document) == good
    for name in document:
        for bad in (None, 7, "x" * 600_000):
            with pytest.raises(Refused, match=r"attest\.collateral"):
                parse_collateral({**document, name: bad})
    with pytest.raises(Refused, match=r"attest\.collateral"):
        parse_collateral({**document, "pck_crl": "zz"})


def test_truncated_at_every_byte(intel: FakeIntel) -> None:
    for raw in (intel.quote(), intel.quote(5)):
        for length in range(len(raw)):
            assert refusal(lambda n=length, r=raw: verified_quote(r[:n], intel.roots, NOW_MS)) == "malformed"  # type: ignore[misc]


def test_a_flipped_bit_anywhere_is_refused(intel: FakeIntel) -> None:
    raw, collateral = intel.quote(), intel.collateral()
    for at in [*range(48), *range(48, len(raw), 3)]:
        if 8 <= at < 12 or raw[at] == 0x0A or at == len(raw) - 1:
            continue  # a line's end in PEM has more than one spelling; the rest of these bytes are signed all the same
        bad = bytearray(raw)
        bad[at] ^= 1 << at % 7
        assert refusal(lambda b=bytes(bad): verify(intel, b, collateral=collateral))  # type: ignore[misc]


def test_sha1_hashes_of_certificates_are_refused() -> None:
    intel = FakeIntel(pck_shape=leaf(hash=hashes.SHA224()))
    assert refusal(lambda: verify(intel)) == "chain"
