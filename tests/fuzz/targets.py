"""What is fuzzed: every reader of evidence, and every verifier behind a signature that holds.

Two families. *As it comes*: any bytes are evidence; they end in a named refusal, or say exactly what the genuine
evidence they were made of says. *Signed anew*: the bytes are what a genuine platform signed, so that the checks behind
the signature are reached; whatever is accepted must be what the checks promise (bound, not debuggable, the very
measurement that was signed).
"""

import base64
import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.attest_endorsement import statement
from tests.fakes.attest_intel import FakeIntel
from tests.fakes.attest_kbs import TeeKeyPair, sample_evidence, snp_evidence
from tests.fakes.attest_nitro import FakeNitro
from tests.fakes.attest_nvidia import FakeNvidia
from tests.fakes.attest_pki import NOW_MS, ec_key, raw_signature
from tests.fakes.attest_snp import FakeAmd
from tests.fakes.attest_tokens import BOUND as TOKEN_BOUND
from tests.fakes.attest_tokens import MAA, FakeIssuer, detached, device_claims, ear_claims, maa_claims, space_claims
from tests.fakes.attest_tpm import EXTRA, FakeTpm, hcl_report, runtime_data
from tests.fuzz.trusted import Collected, any_trust_file, trust_files
from vault.attest.azure.evidence import AzureEvidence, parse_trustee
from vault.attest.azure.verify import AzurePolicy, AzureTrust, verify_azure
from vault.attest.claims import Claims, Refusal
from vault.attest.documents import json_object
from vault.attest.kbs.evidence import TEES, device_forms, primary_form
from vault.attest.kbs.init_data import check_init_data
from vault.attest.kbs.keys import load_tee_key
from vault.attest.nitro.verify import NitroPolicy, verify_nitro
from vault.attest.nvidia.evidence import parse_list
from vault.attest.nvidia.verify import NvidiaPolicy, verify_nvidia
from vault.attest.ocsp import load_answer
from vault.attest.offline.contents import Presented
from vault.attest.offline.inspection import inspect_file
from vault.attest.offline.kinds import KINDS, verify_files
from vault.attest.snp.evidence import certificate_table, parse_tsm
from vault.attest.snp.evidence import parse_evidence as parse_snp
from vault.attest.snp.policy import SnpPolicy
from vault.attest.snp.reference import stated
from vault.attest.snp.verify import verify_snp
from vault.attest.tdx.eventlog import replay
from vault.attest.tdx.verify import TdxPolicy, verify_tdx
from vault.attest.tokens.maa import MaaPolicy, verify_maa
from vault.attest.tokens.nras import NrasPolicy, verify_nras
from vault.attest.tpm.verify import TpmEvidence, TpmPolicy, verify_tpm
from vault.errors import Refused

BOUND = b"\x5a" * 64
_REASONS = frozenset(Refusal)


class Found(AssertionError):
    """The fuzzer's word for a hole: evidence accepted that must not be, or a refusal without a name."""


@dataclass(frozen=True, slots=True)
class Target:
    """`run` answers None for a refusal that has a name, and raises for everything that must not be."""

    run: Callable[[bytes], object]
    seeds: tuple[bytes, ...] = field(repr=False)


def _named(read: Callable[[bytes], Any], raw: bytes) -> Any:
    """What `read` answers; None for a refusal with a name. Any other exception is the fuzzer's find."""
    try:
        return read(raw)
    except Refused as refused:
        if refused.reason not in _REASONS:
            raise Found(f"{refused.reason} is no refusal's name") from refused
        return None


def _as_it_comes(verify: Callable[[bytes], Claims], *genuine: bytes) -> Target:
    known = [verify(raw) for raw in genuine]

    def run(raw: bytes) -> object:
        claims = _named(verify, raw)
        if claims is not None and claims not in known:
            raise Found(f"changed evidence says something new: {claims}")
        return claims

    return Target(run, genuine)


def _reader(read: Callable[[bytes], Any], *seeds: bytes) -> Target:
    return Target(lambda raw: _named(read, raw), seeds)


def _signed_anew(
    sign: Callable[[bytes], bytes], verify: Callable[[bytes], Claims], measured: Callable[[bytes, Claims], bool],
    *genuine: bytes,
) -> Target:  # fmt: skip
    for raw in genuine:
        verify(sign(raw))

    def run(raw: bytes) -> object:
        claims = _named(lambda content: verify(sign(content)), raw)
        if claims is not None and (claims.debug or claims.platform.get("bound") is not True):
            raise Found(f"accepted though debuggable or not bound: {claims}")
        if claims is not None and not measured(raw, claims):
            raise Found(f"a measurement that was not signed: {claims}")
        return claims

    return Target(run, genuine)


class _Makers:
    """One platform of each kind; made once, since certificates take time."""

    def __init__(self) -> None:
        self.amd, self.nitro, self.intel, self.nvidia = FakeAmd(), FakeNitro(), FakeIntel(), FakeNvidia()
        self.tpm, self.issuer, self.nras_issuer = FakeTpm(), FakeIssuer(), FakeIssuer(ec_key())
        self.collateral = self.intel.collateral()

    def snp(self, raw: bytes) -> Claims:
        return verify_snp(raw, self.amd.certificates, self.amd.trust, SnpPolicy(), BOUND, NOW_MS)

    def taken_apart(self, raw: bytes) -> Claims:
        """A report as Trustee's clients send it."""
        report, certificates = parse_snp(primary_form("snp", json_object(raw, "evidence"))[1])
        return verify_snp(report, certificates, self.amd.trust, SnpPolicy(), BOUND, NOW_MS)

    def aws(self, raw: bytes) -> Claims:
        return verify_nitro(raw, self.nitro.roots, NitroPolicy(), BOUND, NOW_MS)

    def tdx(self, raw: bytes) -> Claims:
        return verify_tdx(raw, self.collateral, self.intel.roots, TdxPolicy(), BOUND, NOW_MS)

    def device(self, raw: bytes) -> Claims:
        return verify_nvidia(raw, self.nvidia.chain, self.nvidia.roots, NvidiaPolicy(), BOUND, NOW_MS)

    def token(self, raw: bytes) -> Claims:
        return verify_maa(raw.decode("latin-1"), {MAA: self.issuer.keys}, MaaPolicy(), TOKEN_BOUND, NOW_MS)

    def nras(self, raw: bytes) -> Claims:
        return verify_nras(raw, self.nras_issuer.keys, NrasPolicy(), TOKEN_BOUND, NOW_MS)

    def quote(self, raw: bytes) -> Claims:
        """A TPM quote's message and its signature behind it."""
        evidence = TpmEvidence(self.tpm.public, raw[:-256], raw[-256:], self.tpm.pcrs)
        return verify_tpm(evidence, {self.tpm.name}, TpmPolicy(), EXTRA)

    def azure(self, raw: bytes) -> Claims:
        message = self.tpm.message()
        evidence = AzureEvidence(raw, message, self.tpm.sign(message), self.tpm.pcrs, tuple(self.amd.certificates))
        return verify_azure(evidence, AzureTrust(self.amd.trust), AzurePolicy(), EXTRA, NOW_MS)

    def paravisor(self, data: bytes) -> bytes:
        return hcl_report(self.amd.report(report_data=hashlib.sha256(data).digest() + bytes(32)), data)

    def collected(self, text: bytes) -> Claims:
        """TCB info of any text, signed by Intel's signer."""
        collateral = self.intel.collateral(text.decode("utf-8", "replace"))
        return verify_tdx(self.intel.quote(), collateral, self.intel.roots, TdxPolicy(), BOUND, NOW_MS)

    def claimed(self, document: bytes) -> bytes:
        """A token of any claims, signed by its issuer."""
        return self.issuer.sign(_json(document)).encode()

    def sign_report(self, raw: bytes) -> bytes:
        signed = raw[:0x2A0].ljust(0x2A0, b"\0")
        return signed + raw_signature(self.amd.leaf.key, signed, 72, "little") + bytes(512 - 144)

    def sign_body(self, raw: bytes) -> bytes:
        genuine = self.intel.quote()
        signed = genuine[:48] + raw[:584].ljust(584, b"\0")
        return signed + genuine[632:636] + self.intel.sign_raw(self.intel.attestation, signed) + genuine[700:]


def _json(raw: bytes) -> Any:
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        document = {}
    return document if isinstance(document, dict) else {}


def _text(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def targets() -> dict[str, Target]:
    """By name. Making them takes about two seconds."""
    m = _Makers()
    report, quote, message = m.amd.report(), m.intel.quote(), m.tpm.message()
    data = runtime_data(m.tpm)
    found = {
        "snp": _as_it_comes(m.snp, report, m.amd.report(version=5)),
        "kbs-snp": _as_it_comes(m.taken_apart, _text(snp_evidence(report, m.amd.certificates))),
        "nitro": _as_it_comes(m.aws, m.nitro.document()),
        "tdx": _as_it_comes(m.tdx, quote, m.intel.quote(5)),
        "nvgpu": _as_it_comes(m.device, m.nvidia.report()),
        "maa": _as_it_comes(m.token, m.claimed(_text(maa_claims()))),
        "nras": _as_it_comes(m.nras, detached(
            m.nras_issuer, {"GPU-0": m.nras_issuer.sign(device_claims(), alg="ES384")}).encode()),
        "tpm": _as_it_comes(m.quote, message + m.tpm.sign(message)),
        "azure": _as_it_comes(m.azure, m.paravisor(data)),
        "snp-signed": _signed_anew(
            m.sign_report, m.snp, _honest_report, report[:0x2A0]),
        "tdx-signed": _signed_anew(
            m.sign_body, m.tdx, _honest_body, quote[48:632]),
        "nitro-signed": _signed_anew(m.nitro.sign, m.aws, lambda raw, c: bytes.fromhex(c.measurement) in raw,
                                     _payload(m.nitro)),
        "tpm-signed": _signed_anew(lambda raw: raw + m.tpm.sign(raw), m.quote,
                                   lambda raw, c: bytes.fromhex(c.measurement) in raw, message),
        "maa-signed": _signed_anew(m.claimed, m.token, lambda raw, c: c.measurement in json.dumps(_json(raw)),
                                   _text(maa_claims())),
        "tcb-info": _signed_anew(lambda raw: raw, m.collected, lambda _raw, c: c.measurement == "11" * 48,
                                 _text(m.intel.tcb_info())),
    }  # fmt: skip
    return found | _readers(m, report, quote) | _trusted()


def _trusted() -> dict[str, Target]:
    collected = Collected()
    return {
        "manifest": _as_it_was(collected.golden, collected.manifest),
        "collateral": _as_it_was(collected.taken_in, *collected.files),
        "trust-files": _reader(any_trust_file, *(seed for _, seed in trust_files())),
    }


def _as_it_was(read: Callable[[bytes], Any], *genuine: bytes) -> Target:
    known = [read(raw) for raw in genuine]

    def run(raw: bytes) -> object:
        said = _named(read, raw)
        if said is not None and said not in known:
            raise Found(f"a changed file says something new: {said}")
        return said

    return Target(run, genuine)


def _honest_report(raw: bytes, claims: Claims) -> bool:
    """By the bytes that were signed: not debuggable, no migration agent, level 0, this measurement."""
    policy = int.from_bytes(raw[8:16], "little")
    return not policy >> 18 & 3 and raw[0x30:0x34] == bytes(4) and raw[0x90:0xC0].hex() == claims.measurement


def _honest_body(raw: bytes, claims: Claims) -> bool:
    return not raw[120] & 1 and raw[136:184].hex() == claims.measurement


def _payload(nitro: FakeNitro) -> bytes:
    import cbor2

    return cbor2.dumps(nitro.payload())


def _verdict(kind: str, raw: bytes) -> object:
    return verify_files(kind, Presented(raw, (), None, None, NOW_MS))


def _kbs(raw: bytes) -> object:
    """What a client of the key-broker protocol may send, as whatever it may be."""
    document = json_object(raw, "evidence")
    for tee in sorted(TEES):
        _named(functools.partial(_primary, tee, document), raw)
    for read in (load_tee_key, lambda document: check_init_data("snp", document, {})):
        _named(functools.partial(_of_document, read, document), raw)
    return device_forms(raw.decode("utf-8", "replace"))


def _kbs_seeds(m: _Makers, report: bytes) -> list[bytes]:
    return [
        _text(snp_evidence(report, m.amd.certificates)), _text(sample_evidence(bytes(48))), _text(TeeKeyPair().jwk),
        _text({"quote": "AAAA", "cc_eventlog": None}), _text({"format": "toml", "body": 'algorithm = "sha384"'}),
        _text({"nvidia": {"device_evidence_list": [{"arch": "HOPPER", "evidence": "AAAA", "certificate": "AAAA"}]}}),
        _text({"ak_public": "AAAA", "tpm_quote": {"signature": "ABQACwAAAAA=", "message": "AAAA", "pcrs": ["00"]}}),
    ]  # fmt: skip


def _primary(tee: str, document: dict[str, Any], _raw: bytes) -> object:
    return primary_form(tee, document)


def _of_document(read: Callable[[dict[str, Any]], object], document: dict[str, Any], _raw: bytes) -> object:
    return read(document)


def _readers(m: _Makers, report: bytes, quote: bytes) -> dict[str, Target]:
    def files(raw: bytes) -> object:
        for kind in KINDS:
            _named(functools.partial(_verdict, kind), raw)
        return None

    evidence = _text({"kind": "snp", "version": 1, "report": base64.b64encode(report).decode(), "certificates": []})
    trustee = _text({"version": 1, "tpm_quote": {"signature": "", "message": "", "pcrs": []}, "hcl_report": ""})
    capture = _text({"outblob": base64.b64encode(report).decode(), "provider": "sev_guest\n", "auxblob": ""})
    tokens = [m.issuer.sign(claims).encode() for claims in (maa_claims(), space_claims(), ear_claims())]
    return {
        "table": _reader(certificate_table, bytes(24), b"\1" * 64),
        "tsm": _reader(lambda raw: parse_tsm(json_object(raw, "capture")), capture),
        "log": _reader(replay, bytes(64)),
        "statement": _reader(stated, statement()),
        "devices": _reader(parse_list, _text([{"arch": "HOPPER", "evidence": "", "certificate": ""}])),
        "ocsp": _reader(load_answer, b"0\x03\x0a\x01\x00"),
        "trustee": _reader(lambda raw: parse_trustee(json_object(raw, "evidence")), trustee),
        "kbs": _reader(_kbs, *_kbs_seeds(m, report)),
        "inspect": _reader(lambda raw: inspect_file(raw, None), report, quote, evidence, *tokens),
        "files": Target(files, (report, quote, evidence, *tokens)),
    }
