"""A fake NVIDIA signing service for reference manifests: it signs any tag, in the one form the real one uses.

The canonical form is written here by hand for just these documents: maker and reader share no mistakes.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from tests.fakes.attest_nvidia import MEASUREMENTS
from tests.fakes.attest_pki import Issued, Shape, ec_key, issue, raw_signature

SWID = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd"
HASHES = "http://www.w3.org/2001/04/xmlenc#sha384"
DS = "http://www.w3.org/2000/09/xmldsig#"
C14N = "http://www.w3.org/2006/12/xml-c14n11"
ENVELOPED = f"{DS}enveloped-signature"
# Namespaces in scope at the root, in the order of the canonical form.
SCOPE = f'xmlns="{SWID}" xmlns:ns0="{SWID}" xmlns:ns2="{HASHES}"'
DRIVER, FIRMWARE = "NV_GPU_DRIVER_GH100_550.90.07", "NV_GPU_VBIOS_1010_0200_882_96009F0001"
Values = Mapping[int, Sequence[bytes]]
DRIVER_VALUES: Values = {block: [MEASUREMENTS[block]] for block in range(11, 40)}
FIRMWARE_VALUES: Values = {block: [b"\xee" * 48, MEASUREMENTS[block]] for block in range(1, 11)}


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def resource(at: int, values: Sequence[bytes], *, on: bool = True, **changes: str) -> str:
    """Canonical: attributes without a namespace by name, then the hashes by name."""
    plain = {
        "active": str(on), "alternatives": str(len(values)), "index": str(at), "name": f"Measurement_{at}",
        "size": "48", "type": "Measurement",
    } | changes  # fmt: skip
    listed = [f'{name}="{value}"' for name, value in sorted(plain.items())]
    hashes = sorted((f"Hash{number}", value.hex()) for number, value in enumerate(values))
    listed += [f'ns2:{name}="{value}"' for name, value in hashes]
    return f"<ns0:Resource {' '.join(listed)}></ns0:Resource>"


@dataclass
class FakeManifests:
    """Root, two authorities, signer. `manifest` makes a whole document, `wrap` signs any inner text."""

    signer_shape: Shape = field(default_factory=lambda: Shape(ca=False))
    middle_shape: Shape = field(default_factory=lambda: Shape(ca=True))
    curve: ec.EllipticCurve = field(default_factory=ec.SECP384R1)

    def __post_init__(self) -> None:
        self.root = issue("NVIDIA CoRIM signing Root CA", ec_key(), None, Shape(ca=True))
        self.middle = issue("NVIDIA Reference Value L2", ec_key(), self.root, self.middle_shape)
        self.issuer = issue("NVIDIA Reference Value L3 GH100", ec_key(), self.middle, Shape(ca=True))
        self.signer = issue("NVIDIA Reference Value L4 GH100", ec_key(self.curve), self.issuer, self.signer_shape)

    @property
    def chain(self) -> list[Issued]:
        return [self.signer, self.issuer, self.middle, self.root]

    def driver(self, version: str = "550.90.07", values: Values = DRIVER_VALUES, **changes: Any) -> bytes:
        return self.manifest(version, values, **changes)

    def firmware(self, version: str = "96.00.9F.00.01", values: Values = FIRMWARE_VALUES, **changes: Any) -> bytes:
        return self.manifest(version, values, **changes)

    def manifest(
        self, version: str, values: Values, *, product: str = "GH100", edition: str = "GPU", resources: str = "",
        meta: str | None = None, **signing: Any,
    ) -> bytes:  # fmt: skip
        """`values` by block of a report; every other index up to 63 stands there and is not active."""
        listed = "".join(
            resource(index, values.get(index + 1, [bytes(48)]), on=index + 1 in values) for index in range(64)
        )
        said = f'<ns0:Meta colloquialVersion="{version}" edition="{edition}" product="{product}"></ns0:Meta>'
        inner = f"\n  {said if meta is None else meta}\n  <ns0:Payload>{listed}{resources}</ns0:Payload>\n"
        return self.wrap(inner, **signing)

    def wrap(
        self, inner: str, *, reference: str = 'URI=""', transforms: Sequence[str] = (ENVELOPED, C14N), form: str = C14N,
        method: str = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384",
        digest_method: str = "http://www.w3.org/2001/04/xmldsig-more#sha384", digest: bytes | None = None,
        key: Any = None, certificates: Sequence[Issued] | None = None, root: str = "SoftwareIdentity",
    ) -> bytes:  # fmt: skip
        """A document around `inner`, which is spelled canonically already."""
        body = f'<{root} {SCOPE} name="GH100" version="1.0">{inner}'
        hashed = hashlib.sha384(f"{body}</{root}>".encode()).digest() if digest is None else digest
        steps = "".join(f'<ds:Transform Algorithm="{one}"></ds:Transform>' for one in transforms)
        content = (
            f'<ds:CanonicalizationMethod Algorithm="{form}"></ds:CanonicalizationMethod>'
            f'<ds:SignatureMethod Algorithm="{method}"></ds:SignatureMethod>'
            f"<ds:Reference {reference}><ds:Transforms>{steps}</ds:Transforms>"
            f'<ds:DigestMethod Algorithm="{digest_method}"></ds:DigestMethod>'
            f"<ds:DigestValue>{b64(hashed)}</ds:DigestValue></ds:Reference></ds:SignedInfo>"
        )
        # As its own apex the element shows every namespace in scope, sorted: "", ds, ns0, ns2.
        scope = f'xmlns="{SWID}" xmlns:ds="{DS}" xmlns:ns0="{SWID}" xmlns:ns2="{HASHES}"'
        signer: Any = key or self.signer.key
        signature = raw_signature(signer, f"<ds:SignedInfo {scope}>{content}".encode(), signer.curve.key_size // 8)
        shown = "".join(
            f"<ds:X509Certificate>{b64(one.der)}</ds:X509Certificate>" for one in certificates or self.chain
        )
        return (
            f'{body}<ds:Signature xmlns:ds="{DS}"><ds:SignedInfo>{content}'
            f"<ds:SignatureValue>{b64(signature)}</ds:SignatureValue>"
            f"<ds:KeyInfo><ds:X509Data>{shown}</ds:X509Data></ds:KeyInfo></ds:Signature></{root}>"
        ).encode()
