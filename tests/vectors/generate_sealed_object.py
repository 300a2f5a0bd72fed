"""Writes the sealed-object vectors; run again it writes the same bytes.

    python -m tests.vectors.generate_sealed_object

One file, one case, one failure. `docs/spec/sealed-object.md` §8 explains the fields and lists the attacks.
Bodies are put together from the C2SP text alone (`pieces.py`), not by the sealer under test.
"""

import json
from pathlib import Path

from tests.vectors.body_cases import changed_bytes, good, lengths, moved
from tests.vectors.manifest_cases import manifests, wraps

HERE = Path(__file__).parent


def files() -> dict[str, bytes]:
    """Every vector file by its path under tests/vectors."""
    kinds = {
        "sealed_object": good() | changed_bytes() | lengths() | moved(),
        "sealed_manifest": manifests(),
        "wrapped_key": wraps(),
    }
    return {
        f"{kind}/{name}.json": (json.dumps({"name": name, **told}, indent=1, sort_keys=True) + "\n").encode()
        for kind, cases in kinds.items()
        for name, told in cases.items()
    }


def main() -> None:
    for path, raw in files().items():
        (HERE / path).parent.mkdir(exist_ok=True)
        (HERE / path).write_bytes(raw)


if __name__ == "__main__":
    main()
