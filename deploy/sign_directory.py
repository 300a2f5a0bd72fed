"""Signs the directory of zones given on ZONES as `name jurisdiction s3-endpoint api-endpoint` lines.

LOCATIONS, if set, says what stores and providers may answer when they are asked where they are, and the jurisdiction it
means, as `answer jurisdiction` lines: `eu-central-1 de`.

Writes /directory/directory.json and /directory/directory.pub. The private key stays in this volume, which only
this one-shot mounts writable.
"""

import json
import os
from pathlib import Path

from vault.keys.signing import ZoneSigner

WHERE = Path(os.environ.get("DIRECTORY", "/directory"))
FIELDS = ("name", "jurisdiction", "s3_endpoint", "api_endpoint")


def main() -> None:
    zones = [
        dict(zip(FIELDS, line.split(), strict=True)) for line in os.environ["ZONES"].splitlines() if line.strip()
    ]
    locations = dict(line.split() for line in os.environ.get("LOCATIONS", "").splitlines() if line.strip())
    signer = ZoneSigner.load_or_create(WHERE / "directory.key")
    document = json.dumps({"v": 1, "zones": zones, "locations": locations}, sort_keys=True, separators=(",", ":"))
    signature = signer.sign(b"demesne/directory/1\n" + document.encode()).hex()
    (WHERE / "directory.json").write_text(json.dumps({"directory": document, "signature": signature}))
    (WHERE / "directory.pub").write_text(signer.public_key.hex())


if __name__ == "__main__":
    main()
