"""SNP: genuine evidence gives claims, and every check of the list has evidence that only it refuses."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from tests.fakes.attest_pki import NOW, NOW_MS, YEAR, Issued, Shape, ec_key, issue, revocations, rsa_key
from tests.fakes.attest_snp import CHIP, CSP, FakeAmd, ia5, integer, spl_bytes
from vault.attest.claims import Claims, Refusal
from vault.attest.snp.policy import SnpPolicy, SnpTrust
from vault.attest.snp.product import ROOTS, Product, Tcb, product_of_cpuid
from vault.attest.snp.verify import verify_snp
from vault.errors import Refused

BOUND = b"\x5a" * 64
PROVIDERS = SnpPolicy(providers=frozenset({CSP}))


def verify(
    amd: FakeAmd, raw: bytes | None = None, *, trust: SnpTrust | None = None, policy: SnpPolicy = PROVIDERS,
    certificates: list[bytes] | None = None, bound: bytes | None = BOUND, now_ms: int = NOW_MS,
) -> Claims:  # fmt: skip
    return verify_snp(
        amd.report() if raw is None else raw, amd.certificates if certificates is None else certificates,
        trust or amd.trust, policy, bound, now_ms,
    )  # fmt: skip


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        call()
    assert caught.value.reason in set(Refusal)
    return caught.value.reason.removeprefix("attest.")


@pytest.fixture(scope="module")
def amd() -> FakeAmd:
    return FakeAmd()


@pytest.mark.parametrize("product", list(Product))
@pytest.mark.parametrize("vlek", [False, True], ids=["vcek", "vlek"])
@pytest.mark.parametrize("version", [2, 3, 5])
def test_genuine_reports_give_claims(product: Product, vlek: bool, version: int) -> None:
    amd = FakeAmd(product, vlek=vlek)
    if product is Product.TURIN and version == 2:
        assert refusal(lambda: verify(amd, amd.report(version=2))) == "unknown-version"
        return
    claims = verify(amd, amd.report(version=version))
    assert (claims.kind, claims.tee, claims.debug, claims.hardware, claims.synthetic_only) == (
        "snp", "sev-snp", False, True, False,
    )  # fmt: skip
    assert claims.measurement == "11" * 48
    assert claims.platform["bound"] is True
    assert claims.platform["product"] == product
    assert claims.platform["provider"] == (CSP if vlek else "")
    assert claims.platform["reported_tcb"] == f"fmc={0},bl=4,tee=1,snp=24,ucode=217"


def test_a_report_whose_binding_nobody_looked_at_says_so(amd: FakeAmd) -> None:
    assert verify(amd, bound=None).platform["bound"] is False


def test_hardware_id_may_be_an_octet_string() -> None:
    assert verify(FakeAmd(octets=True)).hardware
    assert verify(FakeAmd(Product.TURIN, octets=True)).hardware


def test_turin_orders_its_tcb_otherwise() -> None:
    amd = FakeAmd(Product.TURIN, tcb=(1, 2, 3, 4, 5))
    assert verify(amd).platform["reported_tcb"] == "fmc=1,bl=2,tee=3,snp=4,ucode=5"
    milan_order = spl_bytes(Product.MILAN, 0, 2, 3, 4, 5)
    assert refusal(lambda: verify(amd, amd.report(reported=milan_order))) == "tcb"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"version": 1}, "unknown-version"),
        ({"version": 4}, "unknown-version"),
        ({"version": 6}, "unknown-version"),
        ({"algorithm": 0}, "algorithm"),
        ({"algorithm": 2}, "algorithm"),
        ({"policy": 0xB0000}, "debug"),
        ({"policy": 0x70000}, "policy"),
        ({"policy": 0x10000}, "policy"),
        ({"policy": 1 << 26 | 0x30000}, "policy"),
        ({"policy": 1 << 63 | 0x30000}, "policy"),
        ({"vmpl": 1}, "vmpl"),
        ({"vmpl": 3}, "vmpl"),
        ({"vmpl": 0xFFFFFFFF}, "vmpl"),
        ({"key_info": 4}, "platform"),
        ({"key_info": 7 << 2}, "platform"),
        ({"key_info": 2}, "platform"),
        ({"key_info": 1 << 5}, "malformed"),
        ({"chip_id": bytes(64)}, "platform"),
        ({"chip_id": CHIP[::-1]}, "platform"),
        ({"cpuid": (0x19, 0x11, 1)}, "platform"),
        ({"cpuid": (0x1A, 0x02, 1)}, "platform"),
        ({"cpuid": (0x17, 0x01, 1)}, "platform"),
        ({"cpuid": (0x19, 0x20, 1)}, "platform"),
        ({"reported": spl_bytes(Product.MILAN, 0, 4, 1, 24, 218)}, "tcb"),
        ({"reported": spl_bytes(Product.MILAN, 0, 4, 1, 23, 217)}, "tcb"),
        ({"reported": spl_bytes(Product.MILAN, 0, 4, 2, 24, 217)}, "tcb"),
        ({"reported": spl_bytes(Product.MILAN, 0, 3, 1, 24, 217)}, "tcb"),
        ({"report_data": bytes(64)}, "binding"),
        ({"report_data": BOUND[:63] + b"\x5b"}, "binding"),
        ({"patch": {0x4C: b"\1"}}, "malformed"),
        ({"patch": {0x18B: b"\1"}}, "malformed"),
        ({"patch": {0x1EB: b"\1"}}, "malformed"),
        ({"patch": {0x1EF: b"\1"}}, "malformed"),
        ({"patch": {0x1F8: b"\1"}}, "malformed"),
        ({"patch": {0x29F: b"\1"}}, "malformed"),
        ({"version": 2, "patch": {0x188: b"\1"}}, "malformed"),
        ({"version": 5, "patch": {0x208: b"\1"}}, "malformed"),
    ],
)
def test_a_signed_report_with_one_wrong_field_is_refused(amd: FakeAmd, fields: dict[str, Any], reason: str) -> None:
    assert refusal(lambda: verify(amd, amd.report(**fields))) == reason


def test_a_report_that_another_key_signed_is_refused(amd: FakeAmd) -> None:
    assert refusal(lambda: verify(amd, amd.report(signer=ec_key()))) == "signature"


@pytest.mark.parametrize("offset", [0x2A0 + 48, 0x2A0 + 72 + 48, 0x2A0 + 144, 0x49F])
def test_a_second_spelling_of_a_signature_is_refused(amd: FakeAmd, offset: int) -> None:
    raw = bytearray(amd.report())
    raw[offset] = 1
    assert refusal(lambda: verify(amd, bytes(raw))) == "malformed"


def test_no_trusted_root_is_a_refusal_and_not_an_empty_loop(amd: FakeAmd) -> None:
    assert refusal(lambda: verify(amd, trust=SnpTrust({}))) == "no-trust"
    assert refusal(lambda: verify(amd, trust=SnpTrust({Product.MILAN: frozenset()}))) == "no-trust"


def test_a_forged_root_of_the_right_name_is_refused(amd: FakeAmd) -> None:
    assert refusal(lambda: verify(amd, trust=SnpTrust())) == "chain"
    assert refusal(lambda: verify(amd, trust=SnpTrust({Product.MILAN: frozenset({"00" * 32})}))) == "chain"


def test_a_root_pinned_for_another_product_is_refused(amd: FakeAmd) -> None:
    assert refusal(lambda: verify(amd, trust=SnpTrust({Product.GENOA: frozenset({amd.root.pin})}))) == "chain"


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_chain_without_a_link_is_refused(amd: FakeAmd, missing: int) -> None:
    certificates = [c for i, c in enumerate(amd.certificates) if i != missing]
    assert refusal(lambda: verify(amd, certificates=certificates)) == "chain"


def test_issuers_may_come_from_the_operator_instead(amd: FakeAmd) -> None:
    trust = replace(amd.trust, certificates=(amd.middle.der, amd.root.der))
    assert verify(amd, certificates=[amd.leaf.der], trust=trust).hardware
    assert verify(amd, trust=trust).hardware  # twice the same certificate is one


def test_many_certificates_are_refused(amd: FakeAmd) -> None:
    assert refusal(lambda: verify(amd, certificates=amd.certificates * 3)) == "malformed"


def test_two_leaves_are_refused(amd: FakeAmd) -> None:
    certificates = [*amd.certificates, amd.issue_leaf().der]
    assert refusal(lambda: verify(amd, certificates=certificates)) == "chain"


def forged(amd: FakeAmd, **changes: Any) -> Issued:
    """A leaf of this chip whose issuer has the right name and another key."""
    other = issue(f"SEV-{amd.product}", rsa_key(2), amd.root, Shape(ca=True, path_length=0))
    return amd.issue_leaf(other)


def test_a_leaf_not_signed_by_its_issuer_is_refused(amd: FakeAmd) -> None:
    leaf = forged(amd)
    raw = amd.report(signer=leaf.key)
    assert refusal(lambda: verify(amd, raw, certificates=[leaf.der, amd.middle.der, amd.root.der])) == "chain"


def test_an_intermediate_not_signed_by_the_root_is_refused(amd: FakeAmd) -> None:
    impostor = issue("ARK-Milan", rsa_key(2), None, Shape(ca=True))
    middle = issue("SEV-Milan", rsa_key(1), impostor, Shape(ca=True, path_length=0))
    assert refusal(lambda: verify(amd, certificates=[amd.leaf.der, middle.der, amd.root.der])) == "chain"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"leaf_shape": Shape(end=NOW - timedelta(seconds=1))}, "expired"),
        ({"leaf_shape": Shape(start=NOW + timedelta(seconds=1))}, "expired"),
        ({"middle_shape": Shape(ca=True, path_length=0, end=NOW - timedelta(1))}, "expired"),
        ({"root_shape": Shape(ca=True, end=NOW - timedelta(1))}, "expired"),
        ({"root_shape": Shape(ca=True, start=NOW + timedelta(1), end=NOW + YEAR)}, "expired"),
        ({"middle_shape": Shape()}, "chain"),
        ({"middle_shape": Shape(ca=False)}, "chain"),
        ({"middle_shape": Shape(ca=True, signs=False)}, "chain"),
        ({"root_shape": Shape(ca=True, path_length=0)}, "chain"),
        ({"leaf_shape": Shape(extensions=(("1.2.3.4", b"\5\0"),), critical=("1.2.3.4",))}, "chain"),
        ({"leaf_name": "VCEK"}, "chain"),
        ({"leaf_name": "SEV-VLEK"}, "chain"),
        ({"middle_name": "SEV-Genoa"}, "chain"),
        ({"middle_name": "SEV-VLEK-Milan"}, "chain"),
        ({"curve": ec.SECP256R1()}, "algorithm"),
        ({"extensions": {"2": ia5("Genoa-B1")}}, "chain"),
        ({"extensions": {"2": ia5("Venice-A0")}}, "chain"),
        ({"extensions": {"2": None}}, "malformed"),
        ({"extensions": {"2": b"\x16\x05Mil"}}, "malformed"),
        ({"extensions": {"2": b"\x16\x02\xc3\xa9"}}, "malformed"),
        ({"extensions": {"2": b"\x04\x08Milan-B0"}}, "malformed"),
        ({"extensions": {"2": b"\x16\x80Milan-" + b"B" * 122}}, "malformed"),
        ({"extensions": {"4": None}}, "chain"),
        ({"extensions": {"4": None, "5": ia5(CSP)}}, "chain"),
        ({"extensions": {"5": ia5(CSP)}}, "chain"),
        ({"extensions": {"4": CHIP[:8]}}, "malformed"),
        ({"extensions": {"4": CHIP + b"\0"}}, "malformed"),
        ({"extensions": {"3.1": None}}, "malformed"),
        ({"extensions": {"3.8": b"\x02\x02\x00\x40"}}, "malformed"),
        ({"extensions": {"3.8": b"\x02\x01\xd9"}}, "malformed"),
        ({"extensions": {"3.8": b"\x04\x02\x00\xd9"}}, "malformed"),
        ({"extensions": {"3.8": b"\x02\x01\x00\xd9"}}, "malformed"),
        ({"extensions": {"3.8": b"\x02\x02\x01\x00"}}, "malformed"),
        ({"extensions": {"3.8": integer(216)}}, "tcb"),
        ({"hardware_id": CHIP[::-1], "extensions": {"4": CHIP}}, "platform"),
    ],
)
def test_a_certificate_that_is_wrong_in_one_way_is_refused(changes: dict[str, Any], reason: str) -> None:
    amd = FakeAmd(**changes)
    assert refusal(lambda: verify(amd)) == reason


def test_a_chip_key_of_another_algorithm_is_refused(amd: FakeAmd) -> None:
    leaf = issue("SEV-VCEK", rsa_key(2), amd.middle, Shape())
    assert refusal(lambda: verify(amd, certificates=[leaf.der, amd.middle.der, amd.root.der])) == "algorithm"


def test_sha1_certificates_are_refused(amd: FakeAmd) -> None:
    leaf = FakeAmd(leaf_shape=Shape(hash=hashes.SHA224()))
    assert refusal(lambda: verify(leaf)) == "chain"


def test_a_revoked_intermediate_is_refused(amd: FakeAmd) -> None:
    trust = replace(amd.trust, revocations=(revocations(amd.root, [amd.middle]),))
    assert refusal(lambda: verify(amd, trust=trust)) == "revoked"
    assert verify(amd, trust=replace(amd.trust, revocations=(revocations(amd.root),))).hardware


def test_a_list_by_a_root_that_may_not_list_is_refused() -> None:
    amd = FakeAmd(root_shape=Shape(ca=True, lists=False))
    assert verify(amd).hardware
    trust = replace(amd.trust, revocations=(revocations(amd.root),))
    assert refusal(lambda: verify(amd, trust=trust)) == "collateral"


@pytest.mark.parametrize("case", ["old", "early", "unsigned", "other", "noise"])
def test_a_revocation_list_that_is_no_good_is_refused(amd: FakeAmd, case: str) -> None:
    impostor = issue("ARK-Milan", rsa_key(2), None, Shape(ca=True))
    lists: dict[str, Callable[[], bytes]] = {
        "old": lambda: revocations(amd.root, end=NOW - timedelta(hours=1)),
        "early": lambda: revocations(amd.root, start=NOW + timedelta(hours=1)),
        "unsigned": lambda: revocations(impostor),
        "other": lambda: revocations(amd.middle),
        "noise": lambda: b"\x30\x03\x02\x01\x00",
    }
    trust = replace(amd.trust, revocations=(lists[case](),))
    assert refusal(lambda: verify(amd, trust=trust)) == "collateral"


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (SnpPolicy(floors={}), "platform"),
        (SnpPolicy(floors={Product.GENOA: Tcb(0, 0, 0, 0)}), "platform"),
        (SnpPolicy(floors={Product.MILAN: Tcb(4, 1, 24, 218)}), "tcb"),
        (SnpPolicy(floors={Product.MILAN: Tcb(5, 0, 0, 0)}), "tcb"),
        (SnpPolicy(chips=frozenset()), "platform"),
        (SnpPolicy(chips=frozenset({CHIP[::-1]})), "platform"),
        (SnpPolicy(denied_chips=frozenset({CHIP})), "platform"),
        (SnpPolicy(platform_info=0x40), "tcb"),
        (SnpPolicy(mitigations=1), "tcb"),
        (SnpPolicy(measurements=frozenset()), "measurement"),
        (SnpPolicy(measurements=frozenset({b"\x12" * 48})), "measurement"),
        (SnpPolicy(host_data=frozenset({bytes(32)})), "host-data"),
        (SnpPolicy(id_keys=frozenset({bytes(48)})), "measurement"),
        (SnpPolicy(vmpls=frozenset()), "vmpl"),
    ],
)
def test_what_an_operator_asks_is_asked(amd: FakeAmd, policy: SnpPolicy, reason: str) -> None:
    assert refusal(lambda: verify(amd, policy=policy)) == reason


def test_what_an_operator_asks_can_be_met() -> None:
    amd = FakeAmd(Product.GENOA)
    policy = SnpPolicy(
        floors={Product.GENOA: Tcb(4, 1, 24, 217)}, chips=frozenset({CHIP}), platform_info=0x20, mitigations=0x11,
        measurements=frozenset({b"\x11" * 48}), host_data=frozenset({b"\x22" * 32}), id_keys=frozenset({b"\x33" * 48}),
    )  # fmt: skip
    assert verify(amd, amd.report(version=5), policy=policy).hardware
    for vectors in ((0x11, 0x10), (0x10, 0x11)):
        assert refusal(lambda v=vectors: verify(amd, amd.report(version=5, mitigations=v), policy=policy)) == "tcb"  # type: ignore[misc]


@pytest.mark.parametrize("field", ["committed", "launch"])
def test_the_floor_holds_for_each_of_three_tcbs(amd: FakeAmd, field: str) -> None:
    policy = SnpPolicy(floors={Product.MILAN: Tcb(4, 1, 24, 217)})
    assert verify(amd, policy=policy).hardware
    old = spl_bytes(Product.MILAN, 0, 4, 1, 24, 216)
    assert refusal(lambda: verify(amd, amd.report(**{field: old}), policy=policy)) == "tcb"


def test_a_provider_is_admitted_by_name() -> None:
    amd = FakeAmd(vlek=True)
    assert refusal(lambda: verify(amd, policy=SnpPolicy())) == "platform"
    assert refusal(lambda: verify(amd, amd.report(key_info=0))) == "platform"


def test_cpuid_of_every_known_line() -> None:
    assert product_of_cpuid(0x19, 0x01) is Product.MILAN
    assert product_of_cpuid(0x19, 0xA0) is Product.GENOA
    assert product_of_cpuid(0x19, 0x9F) is None
    assert product_of_cpuid(0x1A, 0x12) is None
    assert set(ROOTS) == set(Product)
    assert all(len(pins) == 1 for pins in ROOTS.values())


def test_truncated_at_every_byte(amd: FakeAmd) -> None:
    raw = amd.report()
    for length in range(len(raw)):
        assert refusal(lambda n=length: verify(amd, raw[:n])) == "malformed"  # type: ignore[misc]
    assert refusal(lambda: verify(amd, raw + b"\0")) == "malformed"


def test_a_flipped_bit_anywhere_is_refused(amd: FakeAmd) -> None:
    raw = amd.report()
    for at in range(len(raw)):
        if at % 3 and at < 0x2A0 + 144:
            continue
        bad = bytearray(raw)
        bad[at] ^= 1 << at % 8
        assert refusal(lambda b=bytes(bad): verify(amd, b))  # type: ignore[misc]


def test_a_flipped_bit_or_a_cut_in_a_certificate_is_refused(amd: FakeAmd) -> None:
    leaf = amd.leaf.der
    for at in range(0, len(leaf), 3):
        bad = bytearray(leaf)
        bad[at] ^= 1 << at % 8
        assert refusal(lambda b=bytes(bad): verify(amd, certificates=[b, amd.middle.der, amd.root.der]))  # type: ignore[misc]
        cut = leaf[:at]
        assert refusal(lambda c=cut: verify(amd, certificates=[c, amd.middle.der, amd.root.der])) == "malformed"  # type: ignore[misc]
