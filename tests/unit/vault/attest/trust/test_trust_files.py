"""Trust files are read strictly: what is half understood is refused, and the error names the field and the fix."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.fakes.attest_endorsement import ISSUER, statement
from tests.fakes.attest_pki import NOW, NOW_MS, rsa_key
from tests.fakes.attest_tokens import MAA, FakeIssuer
from tests.fakes.attest_trust import FLOOR, instant, jwks
from vault.attest.snp.product import Product, Tcb
from vault.attest.trust.document import MAX_FILE, open_document, strict_json
from vault.attest.trust.endorsers import parse_endorsers, parse_statement
from vault.attest.trust.issuers import parse_issuers
from vault.attest.trust.platforms import parse_platforms
from vault.attest.trust.references import parse_references
from vault.attest.trust.roots import parse_development_root
from vault.attest.trust.tpm_keys import parse_tpm_keys
from vault.errors import Malformed, Refused

Parse = Callable[[bytes], Any]
PAGE = Path(__file__).parents[5] / "docs" / "spec" / "trust-material.md"
PARSERS: dict[str, Parse] = {
    "platforms": parse_platforms, "reference-values": parse_references, "issuers": parse_issuers,
    "tpm-keys": parse_tpm_keys, "endorsers": parse_endorsers,
}  # fmt: skip


def document(name: str, **members: Any) -> bytes:
    head = {"schema": f"demesne.trust.{name}/1", "issued": instant(NOW), "expires": instant(NOW + timedelta(90))}
    return json.dumps(head | members).encode()


def problem(call: Callable[[], object]) -> str:
    with pytest.raises(Malformed) as caught:
        call()
    assert caught.value.reason == "trust.field"
    return caught.value.detail


def examples() -> list[Any]:
    found = re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(found) == 7
    return [pytest.param(text, id=json.loads(text)["schema"]) for text in found[1:]]


@pytest.mark.parametrize("text", examples())
def test_the_examples_of_the_page_are_read(text: str) -> None:
    name = json.loads(text)["schema"].split(".")[2].split("/")[0]
    value, dated = PARSERS[name](text.encode())
    assert value
    assert dated.expires_ms > dated.issued_ms


class TestEnvelope:
    @pytest.mark.parametrize("name", PARSERS)
    def test_a_file_of_another_name_is_refused(self, name: str) -> None:
        assert problem(lambda: PARSERS[name](document("other"))) == f'schema: write "demesne.trust.{name}/1"'
        assert problem(lambda: PARSERS[name](b"{}")) == "schema: missing"

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"issued": None}, "issued"),
            ({"issued": "2026-06-01"}, "issued"),
            ({"issued": "2026-06-01T00:00:00+00:00"}, "issued"),
            ({"issued": "2026-02-30T00:00:00Z"}, "issued"),
            ({"expires": 1}, "expires"),
            ({"expires": instant(NOW)}, "expires"),
            ({"expires": instant(NOW + timedelta(401))}, "expires"),
            ({"schema": 1}, "schema"),
        ],
    )
    def test_dates(self, changes: dict[str, Any], field: str) -> None:
        assert problem(lambda: parse_platforms(document("platforms", **changes))).startswith(f"{field}: ")

    @pytest.mark.parametrize(
        ("raw", "said"),
        [
            (b"", "no JSON"),
            (b"\xff{}", "no JSON"),
            (b"\xef\xbb\xbf{}", "no JSON"),
            (b"[]", "an object expected"),
            (b"{} {}", "no JSON"),
            (b'{"a": NaN}', "no JSON"),
            (b'{"a": Infinity}', "no JSON"),
            (b"[" * 100_000, "no JSON"),
            (b" " * (MAX_FILE + 1), "longer than"),
        ],
    )
    def test_what_is_no_document(self, raw: bytes, said: str) -> None:
        assert said in problem(lambda: open_document(raw, "demesne.trust.platforms/1"))

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ('{"a": {"b": [1, {"c": 1, "c": 2}]}}', "a.b[1].c: stands there twice; remove one"),
            ('{"a": 1, "a": 1}', "a: stands there twice; remove one"),
            ('{"a": [1, 2.0]}', "a[1]: 2.0 is no whole number; write one"),
            ('{"a": 1e3}', "a: 1e3 is no whole number; write one"),
            ('{"a": 9007199254740993}', "a: a number beyond 2^53"),
            ('{"a": -9007199254740993}', "a: a number beyond 2^53"),
            ("[" * 14 + "]" * 14, "nested deeper than 12"),
        ],
    )
    def test_errors_name_the_member(self, text: str, said: str) -> None:
        assert said in problem(lambda: strict_json(text.encode()))


class TestPlatforms:
    def test_what_it_says(self) -> None:
        platforms, _ = parse_platforms(document("platforms", snp={
            "products": {"Turin": {"fmc": 1, **FLOOR}, "Milan": FLOOR}, "deny_products": ["Milan"],
            "deny_chips": ["01" * 8]}))  # fmt: skip
        assert platforms.snp is not None
        assert platforms.snp.floors == {Product.TURIN: Tcb(4, 1, 24, 217, 1)}
        assert platforms.snp.denied_chips == {b"\1" * 8 + bytes(56)}
        assert (platforms.snp.providers, platforms.snp.chips) == (frozenset(), None)
        assert platforms.snp.vmpls == {0}
        assert (platforms.tdx, platforms.nitro, platforms.azure, platforms.devices) == (None, None, None, None)

    @pytest.mark.parametrize(
        ("sections", "said"),
        [
            ({"sgx": {}}, "sgx: unknown member"),
            ({"snp": []}, "snp: an object expected"),
            ({"snp": {}}, "snp.products: missing"),
            ({"snp": {"products": {"Naples": FLOOR}}}, "snp.products.Naples: a product line is one of"),
            ({"snp": {"products": {"Genoa": {"bootloader": 1}}}}, "snp.products.Genoa.tee: missing"),
            ({"snp": {"products": {"Genoa": FLOOR | {"snp": 256}}}}, "snp.products.Genoa.snp: a whole number"),
            ({"snp": {"products": {"Genoa": FLOOR | {"snp": True}}}}, "snp.products.Genoa.snp: a whole number"),
            ({"snp": {"products": {"Genoa": FLOOR | {"ucode": 1}}}}, "snp.products.Genoa.ucode: unknown member"),
            ({"snp": {"products": {}, "deny_chip": []}}, "snp.deny_chip: unknown member; remove it, or"),
            ({"snp": {"products": {}, "deny_chips": ["00"]}}, "snp.deny_chips[0]: a text of the form"),
            ({"snp": {"products": {}, "deny_chips": ["AA" * 64]}}, "snp.deny_chips[0]: a text of the form"),
            ({"snp": {"products": {}, "deny_chips": ["00" * 64] * 2}}, "snp.deny_chips: an entry stands there twice"),
            ({"snp": {"products": {}, "deny_chips": "00"}}, "snp.deny_chips: a list of at most"),
            ({"snp": {"products": {}, "deny_chips": ["00" * 64] * 4097}}, "snp.deny_chips: a list of at most"),
            ({"snp": {"products": {}, "deny_products": ["milan"]}}, "snp.deny_products[0]"),
            ({"snp": {"products": {}, "vmpls": [4]}}, "snp.vmpls"),
            ({"snp": {"products": {}, "needs_revocation": 1}}, "snp.needs_revocation: true or false expected"),
            ({"tdx": {}}, "tdx.min_evaluation_number: missing"),
            ({"tdx": {"min_evaluation_number": 0}}, "tdx.min_evaluation_number: a whole number"),
            ({"tdx": {"min_evaluation_number": 17, "statuses": ["Revoked"]}}, "tdx.statuses[0]"),
            ({"tdx": {"min_evaluation_number": 17, "max_collateral_age_days": 91}}, "tdx.max_collateral_age_days"),
            ({"nitro": {"allow_modules": ["module"]}}, "nitro.allow_modules[0]"),
            ({"azure-vtpm": {}}, "azure-vtpm: it rests on hardware"),
            ({"nvgpu": {"min_driver": "latest"}}, "nvgpu.min_driver"),
            ({"nvgpu": {"min_vbios": "96.00.9f.00.01"}}, "nvgpu.min_vbios"),
        ],
    )  # fmt: skip
    def test_errors_name_the_field(self, sections: dict[str, Any], said: str) -> None:
        assert problem(lambda: parse_platforms(document("platforms", **sections))).startswith(said)


class TestReferences:
    ENTRY: dict[str, Any] = {"name": "a", "kind": "tdx", "measurement": ["11" * 48]}  # noqa: RUF012

    def test_what_the_doctrine_gets(self) -> None:
        entry = self.ENTRY | {"note": "why", "tee": "tdx", "match": {"platform.rtmr1": ["aa"], "debug": [False]}}
        (found,), _ = parse_references(document("reference-values", references=[entry]))
        assert found == {key: value for key, value in entry.items() if key != "note"}

    @pytest.mark.parametrize(
        ("entries", "said"),
        [
            (None, "references: "),
            ([{}], "references[0].name: missing"),
            ([ENTRY, ENTRY], "references[1].name: a name stands there twice"),
            ([ENTRY | {"more": 1}], "references[0].more: unknown member"),
            ([{"name": "a", "kind": "tdx"}], "references[0]: neither measurement nor match"),
            ([{"name": "a", "kind": "tdx", "match": {}}], "references[0]: neither measurement nor match"),
            ([{"name": "a", "kind": "tdx", "platform": {"fmspc": ["a"]}}], "references[0]: neither measurement"),
            ([ENTRY | {"match": {"Platform": ["a"]}}], "references[0].match.Platform: a claim's path"),
            ([ENTRY | {"match": {"tee": "a"}}], "references[0].match.tee: a list"),
            ([ENTRY | {"match": {"tee": [None]}}], "references[0].match.tee[0]: a text"),
            ([ENTRY | {"measurement": "a"}], "references[0].measurement: a list"),
        ],
    )  # fmt: skip
    def test_errors_name_the_field(self, entries: Any, said: str) -> None:
        members = {} if entries is None else {"references": entries}
        assert problem(lambda: parse_references(document("reference-values", **members))).startswith(said)


class TestIssuers:
    KEYS = jwks(FakeIssuer(rsa_key(8)))
    ENTRY: dict[str, Any] = {"kind": "maa", "iss": MAA, "algorithms": ["RS256"], "jwks": KEYS}  # noqa: RUF012
    SPACE: dict[str, Any] = {  # noqa: RUF012
        "kind": "confidential-space", "iss": "https://confidentialcomputing.googleapis.com", "algorithms": ["RS256"],
        "audience": ["us"],
    }  # fmt: skip

    def test_what_it_says(self) -> None:
        (one, other), _ = parse_issuers(document("issuers", issuers=[self.ENTRY, self.SPACE]))
        assert (one.kind, one.iss, [key.kid for key in one.keys]) == ("maa", MAA, ["k1"])
        assert len(other.roots) == 1

    @pytest.mark.parametrize(
        ("entry", "said"),
        [
            ({"kind": "spiffe"}, "issuers[0].kind"),
            ({"kind": "maa", "iss": "https://evil.example"}, "issuers[0].iss"),
            (ENTRY | {"iss": MAA + ".evil.example"}, "issuers[0].iss"),
            (ENTRY | {"algorithms": ["ES256"]}, "issuers[0].algorithms[0]"),
            (ENTRY | {"algorithms": ["none"]}, "issuers[0].algorithms[0]"),
            (ENTRY | {"algorithms": []}, "issuers[0].algorithms: name at least one"),
            (ENTRY | {"jwks": None}, "issuers[0].jwks: no key"),
            (ENTRY | {"jwks": {"keys": []}}, "issuers[0].jwks: no key"),
            (ENTRY | {"jwks": {"kty": "RSA"}}, "issuers[0].jwks: a JWK set expected"),
            (ENTRY | {"jwks": {"keys": [{"kty": "oct", "k": "AA"}]}}, "issuers[0].jwks: "),
            (ENTRY | {"jwks": {"keys": KEYS["keys"] * 2}}, "issuers[0].jwks: two keys of one kid"),
            (ENTRY | {"jwks_uri": "https://x"}, "issuers[0].jwks_uri: unknown member"),
            (ENTRY | {"audience": ["us"]}, "issuers[0].audience: unknown member"),
            (ENTRY | {"policy": {"models": []}}, "issuers[0].policy.models: unknown member"),
            ({name: value for name, value in SPACE.items() if name != "audience"}, "issuers[0].audience: missing"),
            (SPACE | {"roots": []}, "issuers[0].jwks: no key"),
            ({"kind": "ear", "iss": "v", "algorithms": ["RS256"], "jwks": KEYS}, "issuers[0].policy.submodules: miss"),
        ],
    )  # fmt: skip
    def test_errors_name_the_field(self, entry: dict[str, Any], said: str) -> None:
        assert problem(lambda: parse_issuers(document("issuers", issuers=[entry]))).startswith(said)

    def test_an_issuer_stands_there_once(self) -> None:
        raw = document("issuers", issuers=[self.ENTRY, self.ENTRY])
        assert "twice" in problem(lambda: parse_issuers(raw))


class TestTpmKeys:
    def test_what_it_says(self) -> None:
        entry = {"name": "ab" * 32, "pcrs": {"7": ["07" * 32], "11": []}, "principal": "p"}
        trust, _ = parse_tpm_keys(document("tpm-keys", keys=[entry], endorsement_roots=["cd" * 32]))
        key = trust.keys["ab" * 32]
        assert (key.pcrs, key.principal_id, key.last) == ({7: {b"\7" * 32}, 11: frozenset()}, "p", None)
        assert trust.endorsement_roots == {"cd" * 32}

    @pytest.mark.parametrize(
        ("members", "said"),
        [
            ({"keys": [{"name": "AB" * 32}]}, "keys[0].name"),
            ({"keys": [{"name": "ab" * 32}] * 2}, "keys[1].name: a key stands there twice"),
            ({"keys": [{"name": "ab" * 32, "pcrs": {"24": []}}]}, "keys[0].pcrs.24: a PCR is a number"),
            ({"keys": [{"name": "ab" * 32, "pcrs": {"07": []}}]}, "keys[0].pcrs.07: a PCR is a number"),
            ({"keys": [{"name": "ab" * 32, "pcrs": {"7": ["00"]}}]}, "keys[0].pcrs.7[0]"),
            ({"endorsement_roots": ["x"]}, "endorsement_roots[0]"),
            ({"endorsement_certificates": ["AAAA"]}, "endorsement_certificates: each is a certificate"),
        ],
    )
    def test_errors_name_the_field(self, members: dict[str, Any], said: str) -> None:
        assert problem(lambda: parse_tpm_keys(document("tpm-keys", **members))).startswith(said)


class TestEndorsers:
    ENTRY: ClassVar[dict[str, Any]] = {"issuer": ISSUER, "feed": "uvm", "min_svn": 22}

    def test_what_it_says(self) -> None:
        entries = [self.ENTRY, self.ENTRY | {"feed": "b", "as_of": instant(NOW - timedelta(1)), "note": "why"}]
        first, second = parse_endorsers(document("endorsers", endorsers=entries))[0]
        assert (first.issuer, first.feed, first.min_svn, first.as_of_ms) == (ISSUER, "uvm", 22, None)
        assert (second.feed, second.as_of_ms) == ("b", NOW_MS - 86_400_000)

    @pytest.mark.parametrize(
        ("entries", "said"),
        [
            ([{"feed": "uvm", "min_svn": 22}], "endorsers[0].issuer: missing"),
            ([{"issuer": ISSUER, "feed": "uvm"}], "endorsers[0].min_svn: missing"),
            ([ENTRY | {"issuer": "did:web:example"}], "endorsers[0].issuer"),
            ([ENTRY | {"issuer": ISSUER.partition("::")[0]}], "endorsers[0].issuer"),
            ([ENTRY | {"feed": ""}], "endorsers[0].feed"),
            ([ENTRY | {"min_svn": -1}], "endorsers[0].min_svn: a whole number"),
            ([ENTRY | {"min_svn": True}], "endorsers[0].min_svn: a whole number"),
            ([ENTRY | {"as_of": "yesterday"}], "endorsers[0].as_of: a time such as"),
            ([ENTRY | {"as_of": instant(NOW + timedelta(1))}], "endorsers[0].as_of: it is after issued"),
            ([ENTRY | {"min_svm": 1}], "endorsers[0].min_svm: unknown member"),
            ([ENTRY, ENTRY | {"min_svn": 0}], "endorsers: an issuer stands there twice with one feed"),
        ],
    )
    def test_errors_name_the_field(self, entries: list[Any], said: str) -> None:
        assert problem(lambda: parse_endorsers(document("endorsers", endorsers=entries))).startswith(said)

    def test_a_statement_is_read_and_not_believed(self) -> None:
        found, dated = parse_statement("a.cose", statement(salt=20))
        assert (found.measurement, dated) == ("11" * 48, None)
        assert "name it .cose" in problem(lambda: parse_statement("a.bin", statement()))
        with pytest.raises(Refused):
            parse_statement("a.cose", b"")


@pytest.mark.parametrize("name", ["amd.pem", "intel.crt", "Intel.pem", "nvidia-rim-x.pem", "root.pem"])
def test_a_development_root_says_whose(name: str) -> None:
    assert "name it" in problem(lambda: parse_development_root(name, b""))


def test_a_development_root_is_pem() -> None:
    with pytest.raises(Refused):
        parse_development_root("intel.pem", b"no PEM")


def test_now_is_inside_the_examples_of_the_tests() -> None:
    assert parse_platforms(document("platforms"))[1].issued_ms == NOW_MS
