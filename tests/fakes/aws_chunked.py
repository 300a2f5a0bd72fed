"""aws-chunked bodies as a client makes them, written from AWS's manual, independently of the decoder."""

import hashlib
import hmac
from dataclasses import dataclass


def encode_unsigned(body: bytes, size: int, trailer: dict[str, str]) -> bytes:
    out = b""
    for i in range(0, len(body), size):
        chunk = body[i : i + size]
        out += b"%x\r\n" % len(chunk) + chunk + b"\r\n"
    return out + b"0\r\n" + "".join(f"{n}:{v}\r\n" for n, v in trailer.items()).encode() + b"\r\n"


@dataclass
class Encoder:
    key: bytes
    scope: str
    stamp: str
    seed: str

    def _sign(self, message: str) -> str:
        return hmac.new(self.key, message.encode(), hashlib.sha256).hexdigest()

    def signed(self, body: bytes, size: int, trailer: dict[str, str] | None = None, *, end: str = "\r\n") -> bytes:
        """Signed chunks of `size`; with a trailer, each of its lines ended by `end`, and its signature."""
        out, previous = b"", self.seed
        nothing = hashlib.sha256(b"").hexdigest()
        for chunk in [*(body[i : i + size] for i in range(0, len(body), size)), b""]:
            digest = hashlib.sha256(chunk).hexdigest()
            previous = self._sign(
                f"AWS4-HMAC-SHA256-PAYLOAD\n{self.stamp}\n{self.scope}\n{previous}\n{nothing}\n{digest}"
            )
            head = f"{len(chunk):x};chunk-signature={previous}\r\n"
            out += head.encode() + chunk + (b"\r\n" if chunk else b"")
        if trailer is None:
            return out + b"\r\n"
        lines = "".join(f"{name}:{value}\n" for name, value in trailer.items())
        digest = hashlib.sha256(lines.encode()).hexdigest()
        seal = self._sign(f"AWS4-HMAC-SHA256-TRAILER\n{self.stamp}\n{self.scope}\n{previous}\n{digest}")
        return out + lines.replace("\n", end).encode() + f"x-amz-trailer-signature:{seal}\r\n\r\n".encode()
