"""Init data: a document that the machine was started with, known by its hash (Trustee's initdata, TOML).

Hardware carries the hash as HOST_DATA (SNP) or MRCONFIGID (TDX), a vTPM as the first extension of PCR 8. Who sends the
document is believed when the verified claims say the same hash; where nothing can say it, sending it is refused.
"""

import hashlib
import re
import tomllib
from collections.abc import Mapping
from typing import Any

from vault.attest.claims import Refusal, refuse

MAX_BODY = 256 * 1024
MAX_HEAD = 4096
_TABLE = re.compile(r"^[ \t]*\[", re.MULTILINE)
_ALGORITHMS = {"sha256": hashlib.sha256, "sha384": hashlib.sha384, "sha512": hashlib.sha512}
_PCR = "pcr8"
_PLACES = {
    "snp": ("host_data", 32), "tdx": ("mrconfigid", 48), "az-snp-vtpm": (_PCR, 32), "az-tdx-vtpm": (_PCR, 32),
    "tpm": (_PCR, 32),
}  # fmt: skip


def check_init_data(tee: str, init_data: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
    """The document's digest (hex), when verified claims commit to it. `Refused`: `malformed`, `host-data`."""
    body = init_data.get("body")
    if set(init_data) != {"format", "body"} or init_data["format"] != "toml" or not isinstance(body, str):
        raise refuse(Refusal.MALFORMED, "init data is format toml and its body")
    digest = _digest(body)
    place, length = _PLACES.get(tee, ("", 0))
    carried = claims.get("platform", {}).get(place)
    fitted = digest[:length].ljust(length, b"\0")  # cut, or followed by zeroes, as the guest's firmware does it
    if place == _PCR:
        fitted = hashlib.sha256(bytes(32) + fitted).digest()
    if not length or carried != fitted.hex():
        raise refuse(Refusal.HOST_DATA, "the machine was not started with this init data")
    return digest.hex()


def _digest(body: str) -> bytes:
    if len(body) > MAX_BODY:
        raise refuse(Refusal.MALFORMED, "init data is too long")
    # Top-level members stand before the first table. The rest is hashed and not read: the parser's time and memory
    # grow with the square of a dotted name's length, and this is the broker.
    table = _TABLE.search(body)
    head = body[: table.start() if table else None]
    if len(head) > MAX_HEAD:
        raise refuse(Refusal.MALFORMED, f"init data names its hash within the first {MAX_HEAD} characters")
    try:
        named = tomllib.loads(head).get("algorithm")
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise refuse(Refusal.MALFORMED, "init data is no TOML") from error
    algorithm = _ALGORITHMS.get(named.lower().replace("-", "")) if isinstance(named, str) else None
    if algorithm is None:
        raise refuse(Refusal.MALFORMED, "init data names no hash")
    try:
        return algorithm(body.encode("utf-8")).digest()
    except UnicodeEncodeError as error:
        raise refuse(Refusal.MALFORMED, "init data is not Unicode") from error
