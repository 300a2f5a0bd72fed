"""Signs the directory of zones given on ZONES as `name jurisdiction s3-endpoint api-endpoint` lines.

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
    signer = ZoneSigner.load_or_create(WHERE / "directory.key")
    document = json.dumps({"v": 1, "zones": zones}, sort_keys=True, separators=(",", ":"))
    signature = signer.sign(b"demesne/directory/1\n" + document.encode()).hex()
    (WHERE / "directory.json").write_text(json.dumps({"directory": document, "signature": signature}))
    (WHERE / "directory.pub").write_text(signer.public_key.hex())


if __name__ == "__main__":
    main()
