"""Reads one URI with every client, unmodified: who reads is said by the environment alone. Prints what each saw.

AWS_… python -m tests.e2e.same_uri BUCKET KEY [CLIENT,…]
"""

import hashlib
import json
import sys
from collections.abc import Callable
from typing import Any

from tests.e2e.s3_clients import CLIENTS, Place, Read, place


def seen(make: Callable[[Place], Read], at: Place) -> dict[str, Any]:
    try:
        rows = make(at)()
    except Exception as error:  # one client that fails must not hide the others
        return {"error": f"{type(error).__name__}: {error}"[:600]}
    digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    return {"rows": len(rows), "first": rows[0][0], "sha256": digest, "visits": sum(row[1] for row in rows)}


if __name__ == "__main__":
    wanted = place(*sys.argv[1:3])
    chosen = sys.argv[3].split(",") if len(sys.argv) > 3 else list(CLIENTS)
    print(json.dumps({name: seen(CLIENTS[name], wanted) for name in chosen}))
