"""Asking the makers for what is in place, or is named, and taking in what holds. Verifiers never come here.

What an answer is for is what was asked: a platform family's collateral under another's question is refused, as is
everything that `Office.take_in` refuses. A failure leaves what is in place as it is, and says so.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from vault.attest.claims import Refusal, refuse
from vault.attest.documents import json_object
from vault.attest.snp.product import Product
from vault.attest.trust.collateral import product_of
from vault.attest.trust.directory import AMD, INTEL, NVIDIA
from vault.attest.trust.document import MAX_FILE
from vault.collateral.candidates import answer_name
from vault.collateral.fetching import Fetched, Fetcher
from vault.collateral.office import Office, Outcome, failed
from vault.endpoint.address import Endpoint
from vault.errors import Unavailable, VaultError

AUTHORITIES = ("platform", "processor")
_SIGNATURE = re.compile(r'\s*,\s*"signature"\s*:\s*"([0-9a-fA-F]{128})"\s*\}\s*')
_MANIFEST = re.compile(r"NV_[A-Z0-9_.]{1,96}")
_CHAIN_HEADERS = (
    "tcb-info-issuer-chain",
    "sgx-tcb-info-issuer-chain",
    "sgx-enclave-identity-issuer-chain",
    "sgx-pck-crl-issuer-chain",
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to ask for. FMSPCs in lower-case hex with the authority of their platforms' certificates; manifests by
    identifier."""

    families: Mapping[str, str]
    products: Sequence[Product]
    manifests: Sequence[str]
    paths: Sequence[Sequence[x509.Certificate]]


def in_place(office: Office, now_ms: int) -> Wanted:
    """Everything that lies in the directory, and the certificates that NVIDIA's files there show."""
    material = office.material(now_ms)
    families = {
        loaded.value.fmspc.hex(): _authority(loaded.value.collateral.pck_crl)
        for loaded in material.intel if loaded.value is not None
    }  # fmt: skip
    products = {product_of(loaded.name.rpartition("/")[2]) for loaded in material.amd}
    names = (loaded.name.rpartition("/")[2] for loaded in material.nvidia)
    manifests = sorted(name.removesuffix(".xml") for name in names if name.endswith(".xml"))
    known = sorted(product for product in products if product is not None)
    return Wanted(families, known, manifests, office.anchors(now_ms).paths)


def _authority(pck_crl: bytes) -> str:
    """Which authority issued a list of platforms, by the name that the service has for it."""
    issuer = x509.load_der_x509_crl(pck_crl).issuer.rfc4514_string()
    return "processor" if "Processor" in issuer else "platform"


class Refresh:
    """One round. What is wanted of a role without a source fails by name; nothing is asked of anybody else."""

    def __init__(self, office: Office, sources: Mapping[str, Endpoint], fetcher: Fetcher, now_ms: int) -> None:
        self._office = office
        self._sources = sources
        self._fetcher = fetcher
        self._now_ms = now_ms

    def run(self, wanted: Wanted) -> list[Outcome]:
        """One outcome for each thing wanted, failures beside what went well."""
        done = [self._intel(fmspc, authority) for fmspc, authority in wanted.families.items()]
        done += [self._amd(product) for product in wanted.products]
        done += [self._manifest(identifier) for identifier in wanted.manifests]
        asked = set[bytes]()
        for certificate, issuer in (pair for path in wanted.paths for pair in pairwise(path)):
            if (der := certificate.public_bytes(Encoding.DER)) not in asked:
                asked.add(der)
                done.append(self._answer(certificate, issuer))
        return done

    def _intel(self, fmspc: str, authority: str) -> Outcome:
        def ask() -> bytes:
            tcb = self._get("intel-pcs", f"/tdx/certification/v4/tcb?fmspc={fmspc}")
            identity = self._get("intel-pcs", "/tdx/certification/v4/qe/identity")
            listed = self._get("intel-pcs", f"/sgx/certification/v4/pckcrl?ca={authority}&encoding=der")
            root = self._get("intel-crl", "/IntelSGXRootCA.der")
            return json.dumps(
                _signed(tcb, "tcbInfo", "tcb_info")
                | _signed(identity, "enclaveIdentity", "qe_identity")
                | {"pck_crl_issuer_chain": _chain(listed), "pck_crl": listed.body.hex(),
                   "root_ca_crl": root.body.hex()}
            ).encode()  # fmt: skip

        return self._take(f"intel {fmspc}", f"{INTEL}/{fmspc}.json", ask)

    def _amd(self, product: Product) -> Outcome:
        def ask() -> bytes:
            return self._get("amd-kds", f"/vcek/v1/{product}/crl").body

        return self._take(f"amd {product.lower()}", f"{AMD}/{product.lower()}.crl", ask)

    def _manifest(self, identifier: str) -> Outcome:
        def ask() -> bytes:
            if not _MANIFEST.fullmatch(identifier):
                raise refuse(Refusal.COLLATERAL, "no identifier of a manifest")
            answer = json_object(self._get("nvidia-rim", f"/v1/rim/{identifier}").body, "manifest", Refusal.COLLATERAL)
            text = answer.get("rim")
            if answer.get("id") != identifier or not isinstance(text, str) or len(text) > 2 * MAX_FILE:
                raise refuse(Refusal.COLLATERAL, "another manifest than was asked for")
            try:
                return base64.b64decode(text.encode("ascii"), validate=True)
            except (UnicodeEncodeError, binascii.Error) as error:
                raise refuse(Refusal.COLLATERAL, "manifest is not base64") from error

        return self._take(f"nvidia {identifier}", f"{NVIDIA}/{identifier}.xml", ask)

    def _answer(self, certificate: x509.Certificate, issuer: x509.Certificate) -> Outcome:
        def ask() -> bytes:
            request = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, SHA384()).build()
            body = request.public_bytes(Encoding.DER)
            return self._fetcher.post(self._source("nvidia-ocsp"), "/", body, "application/ocsp-request").body

        return self._take(f"nvidia certificate {certificate.serial_number:x}", answer_name(certificate), ask)

    def _take(self, source: str, name: str, ask: Callable[[], bytes]) -> Outcome:
        """`name`: the file that was asked for, which the answer must turn out to be."""
        try:
            content = ask()
        except (VaultError, ValueError) as error:
            return failed(source, error)
        return self._office.take_in(source, content, self._now_ms, expected=name)

    def _get(self, role: str, target: str) -> Fetched:
        return self._fetcher.get(self._source(role), target)

    def _source(self, role: str) -> Endpoint:
        endpoint = self._sources.get(role)
        if endpoint is None:
            raise Unavailable("collateral.sources", f"no source {role} is set")
        return endpoint


def _signed(answer: Fetched, member: str, name: str) -> dict[str, str]:
    """The verbatim JSON of a member, which is what Intel signed, with its signature and issuers."""
    try:
        text = answer.body.decode("utf-8")
        head = re.match(rf'\s*\{{\s*"{member}"\s*:\s*', text)
        end = json.JSONDecoder().raw_decode(text, head.end())[1] if head else 0
    except (ValueError, RecursionError) as error:
        raise refuse(Refusal.COLLATERAL, f"{name}: {error}"[:200]) from error
    signature = _SIGNATURE.fullmatch(text, end)
    if head is None or signature is None:
        raise refuse(Refusal.COLLATERAL, f"{name}: a member {member} and its signature expected")
    return {name: text[head.end() : end], f"{name}_signature": signature[1], f"{name}_issuer_chain": _chain(answer)}


def _chain(answer: Fetched) -> str:
    for header in _CHAIN_HEADERS:
        if header in answer.headers:
            return unquote(answer.headers[header], errors="strict")
    raise refuse(Refusal.COLLATERAL, "an answer without the chain of who signed it")
