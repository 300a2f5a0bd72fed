"""What evidence commits to in Trustee's protocol 0.4.0, which has no place for purpose, scope and gateway.

    digest       = SHA-384(JCS({"additional-evidence": text, "nonce": text, "tee-pubkey": JWK}))
    report_data  = digest, zero-padded to 64 bytes; a vTPM of Azure's quotes the 48, a TPM the first 32
    device nonce = the first 32 bytes of SHA-384(JCS({"nonce", "tee-pubkey"}))

Who may do what with the answer hangs on the nonce: its row names principal, purpose, scope and gateway, and no nonce
of the one protocol serves the other.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import rfc8785

from vault.attest.binding import DEVICE_NONCE_BYTES
from vault.attest.claims import Refusal, refuse

PROFILE = "kbs"
_REPORT_DATA = 64
_AS_LONG = {"az-snp-vtpm": 48, "az-tdx-vtpm": 48, "tpm": 32}  # extraData has the length that the client gives it


def nonce_text(nonce: str) -> str:
    """A challenge's nonce (hex) as these clients get it: base64 of its 32 bytes."""
    return base64.b64encode(bytes.fromhex(nonce)).decode("ascii")


def nonce_hex(text: object) -> str:
    """The other way round; `Refused("attest.nonce")` for anything that is not 32 bytes in the one spelling."""
    if isinstance(text, str) and len(text) == 44:
        try:
            raw = base64.b64decode(text.encode("ascii"), validate=True)
        except (UnicodeEncodeError, binascii.Error):
            raw = b""
        if len(raw) == 32 and base64.b64encode(raw).decode("ascii") == text:
            return raw.hex()
    raise refuse(Refusal.NONCE, "no nonce of ours")


@dataclass(frozen=True, slots=True)
class KbsBinding:
    """The `Binding` of one handshake. `nonce` in hex; `additional` is the text that was sent, "" for none."""

    tee: str
    nonce: str
    tee_pubkey: Mapping[str, Any]
    additional: str = ""

    def report_data(self) -> bytes:
        """What the machine's evidence carries: 64 bytes, or as many as its kind holds."""
        digest = self._digest({"additional-evidence": self.additional})
        return digest[: _AS_LONG[self.tee]] if self.tee in _AS_LONG else digest.ljust(_REPORT_DATA, b"\0")

    def device_nonce(self) -> bytes:
        """The 32 bytes that a device answers: it cannot commit to its own evidence."""
        return self._digest({})[:DEVICE_NONCE_BYTES]

    def _digest(self, more: Mapping[str, str]) -> bytes:
        said: dict[str, Any] = {"nonce": nonce_text(self.nonce), "tee-pubkey": dict(self.tee_pubkey), **more}
        try:
            return hashlib.sha384(rfc8785.dumps(said)).digest()
        except rfc8785.CanonicalizationError as error:
            raise refuse(Refusal.MALFORMED, "runtime data has no canonical form") from error
