"""The guest's side of Trustee's protocol: what its clients send, made from our own fakes' bytes, and the JWE they open.

`sev_struct` spells a report as the Rust crate `sev` does through serde; tests/vectors/kbs holds what that crate itself
wrote of such reports.
"""

import base64
import hashlib
import json
import struct
from typing import Any

import rfc8785
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc import jwe
from joserfc.jwk import ECKey, RSAKey

VERSION = "0.4.0"
CREDENTIALS = "demesne/session/credentials"


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def b64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _tcb(raw: bytes, *, turin: bool) -> dict[str, Any]:
    if turin:
        return {"fmc": raw[0], "bootloader": raw[1], "tee": raw[2], "snp": raw[3], "microcode": raw[7]}
    return {"fmc": None, "bootloader": raw[0], "tee": raw[1], "snp": raw[6], "microcode": raw[7]}


def sev_struct(raw: bytes) -> dict[str, Any]:
    """A report's 1184 bytes as `sev` 6 and 7 read and write them."""
    version, guest_svn, policy = struct.unpack_from("<IIQ", raw, 0)
    vmpl, algorithm = struct.unpack_from("<II", raw, 0x30)
    plat_info, key_info = struct.unpack_from("<QI", raw, 0x40)
    chip = raw[0x1A0:0x1E0]
    turin = raw[0x188] == 0x1A if version >= 3 else any(chip) and not any(chip[8:])
    mitigations = struct.unpack_from("<QQ", raw, 0x1F8) if version >= 5 else (None, None)
    cpuid = raw[0x188:0x18B] if version >= 3 else (None, None, None)

    def at(start: int, stop: int) -> list[int]:
        return list(raw[start:stop])

    def firmware(start: int) -> dict[str, int]:
        return {"major": raw[start + 2], "minor": raw[start + 1], "build": raw[start]}

    return {
        "version": version, "guest_svn": guest_svn, "policy": policy, "family_id": at(0x10, 0x20),
        "image_id": at(0x20, 0x30), "vmpl": vmpl, "sig_algo": algorithm,
        "current_tcb": _tcb(raw[0x38:0x40], turin=turin), "plat_info": plat_info, "key_info": key_info,
        "report_data": at(0x50, 0x90), "measurement": at(0x90, 0xC0), "host_data": at(0xC0, 0xE0),
        "id_key_digest": at(0xE0, 0x110), "author_key_digest": at(0x110, 0x140), "report_id": at(0x140, 0x160),
        "report_id_ma": at(0x160, 0x180), "reported_tcb": _tcb(raw[0x180:0x188], turin=turin),
        "cpuid_fam_id": cpuid[0], "cpuid_mod_id": cpuid[1], "cpuid_step": cpuid[2], "chip_id": list(chip),
        "committed_tcb": _tcb(raw[0x1E0:0x1E8], turin=turin), "current": firmware(0x1E8),
        "committed": firmware(0x1EC), "launch_tcb": _tcb(raw[0x1F0:0x1F8], turin=turin),
        "launch_mit_vector": mitigations[0], "current_mit_vector": mitigations[1],
        "signature": {"r": at(0x2A0, 0x2E8), "s": at(0x2E8, 0x330)},
    }  # fmt: skip


def snp_evidence(report: bytes, certificates: list[bytes], *, as_bytes: bool = False) -> dict[str, Any]:
    """`certificates`: leaf, intermediate, root, as a hypervisor's table names them."""
    names = ("VCEK", "ASK", "ARK")
    chain = [{"cert_type": name, "data": list(der)} for name, der in zip(names, certificates, strict=False)]
    return {"attestation_report": b64(report) if as_bytes else sev_struct(report), "cert_chain": chain}


def sample_evidence(digest: bytes, svn: str = "1") -> dict[str, Any]:
    return {"svn": svn, "report_data": b64(digest)}


class TeeKeyPair:
    """A guest's key pair: "P-256", "P-521" or "RSA"."""

    def __init__(self, kind: str = "P-256") -> None:
        self.private: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
        if kind == "RSA":
            self.private = rsa.generate_private_key(65537, 2048)
            numbers = self.private.public_key().public_numbers()
            self.jwk = {"kty": "RSA", "alg": "RSA-OAEP-256", "n": b64url(numbers.n.to_bytes(256, "big")),
                        "e": b64url(numbers.e.to_bytes(3, "big"))}  # fmt: skip
            return
        curve, length = {"P-256": (ec.SECP256R1(), 32), "P-521": (ec.SECP521R1(), 66)}[kind]
        self.private = ec.generate_private_key(curve)
        point = self.private.public_key().public_numbers()
        x, y = (b64url(number.to_bytes(length, "big")) for number in (point.x, point.y))
        self.jwk = {"kty": "EC", "crv": kind, "alg": "ECDH-ES+A256KW", "x": x, "y": y}

    def opened(self, sealed: dict[str, str]) -> bytes:
        """What a flattened JWE holds, by another library, and with the header written anew as Trustee's clients do."""
        assert set(sealed) == {"protected", "encrypted_key", "iv", "ciphertext", "tag"}
        header = json.loads(base64.urlsafe_b64decode(sealed["protected"] + "=="))
        again = {"alg": header["alg"], "enc": header["enc"]}
        if "epk" in header:
            again["epk"] = dict(sorted(header["epk"].items()))
        assert b64url(json.dumps(again, separators=(",", ":")).encode()) == sealed["protected"]
        compact = ".".join(sealed[name] for name in ("protected", "encrypted_key", "iv", "ciphertext", "tag"))
        key: Any = RSAKey if isinstance(self.private, rsa.RSAPrivateKey) else ECKey
        algorithms = ["ECDH-ES+A256KW", "RSA-OAEP-256", "A256GCM"]
        plain = jwe.decrypt_compact(compact, key.import_key(self.private), algorithms=algorithms).plaintext
        assert plain is not None
        return plain


def digest_of(nonce: str, tee_pubkey: dict[str, str], additional: str | None = "") -> bytes:
    """SHA-384 over the runtime data; `additional` None: what devices answer."""
    said: dict[str, Any] = {"nonce": nonce, "tee-pubkey": tee_pubkey}
    if additional is not None:
        said["additional-evidence"] = additional
    return hashlib.sha384(rfc8785.dumps(said)).digest()


def request(tee: str, **changes: Any) -> dict[str, Any]:
    hashes = {"supported-hash-algorithms": ["sha256", "sha384", "sha512", "sm3"]}
    return {"version": VERSION, "tee": tee, "extra-params": hashes} | changes


def attestation(
    nonce: str, tee_pubkey: dict[str, str], primary: Any, additional: str = "", init_data: Any = None
) -> dict[str, Any]:
    return {
        "init-data": init_data,
        "runtime-data": {"nonce": nonce, "tee-pubkey": tee_pubkey},
        "tee-evidence": {"primary_evidence": primary, "additional_evidence": additional},
    }
