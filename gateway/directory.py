"""The signed directory: the only thing zones share. Names, jurisdictions and endpoints, nothing about data."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vault.errors import Refused
from vault.keys.signing import verify_signature

_PREFIX = b"demesne/directory/1\n"


@dataclass(frozen=True, slots=True)
class ZoneEntry:
    name: str
    jurisdiction: str
    s3_endpoint: str
    api_endpoint: str


@dataclass(frozen=True, slots=True)
class Directory:
    """`locations`: what a store may answer when asked where it is (a cloud region), and the jurisdiction it means."""

    zones: tuple[ZoneEntry, ...] = ()
    locations: Mapping[str, str] = field(default_factory=dict)

    def find(self, name: str) -> ZoneEntry | None:
        return next((zone for zone in self.zones if zone.name == name), None)


def read_directory(path: Path | None, public_key_hex: str) -> Directory:
    """The verified directory; an empty one when none is configured.

    Raises Refused("directory.key") when a file is named without the key it must be signed by,
    Refused("directory.format") or Refused("signature") when it is not what the operator signed.
    """
    if path is None:
        return Directory()
    if not public_key_hex:
        raise Refused("directory.key", "set DEMESNE_DIRECTORY_KEY to the hex public key the directory is signed by")
    try:
        signed = json.loads(path.read_text())
        document = str(signed["directory"])
        signature = bytes.fromhex(signed["signature"])
        public_key = bytes.fromhex(public_key_hex)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused("directory.format", f"{path}: {type(error).__name__}") from error
    verify_signature(public_key, signature, _PREFIX + document.encode())
    try:
        body = json.loads(document)
        if body["v"] != 1:
            raise Refused("directory.format", "unknown version")
        return Directory(tuple(ZoneEntry(**entry) for entry in body["zones"]), dict(body.get("locations", {})))
    except (ValueError, KeyError, TypeError) as error:
        raise Refused("directory.format", f"{path}: what was signed is no directory") from error
