"""How fast views are built: masking alone (one core, in process), and through the sandbox with sealing on both sides.

    python benchmarks/view.py [--rows 1000000] [--json]

The table is like the demo's claims: an e-mail, a name, a birth date, a postcode, a note, and ten numbers. Figures
are megabytes of the *raw object* and rows per second; the sandbox figure includes unsealing, pipes and sealing, and the
child is warm, as the builder keeps it. Cold start is given apart.
"""

import argparse
import datetime as dt
import io
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1]))

from gateway.enforce.actions import Masker
from gateway.enforce.csv_view import render_csv
from gateway.enforce.limits import Limits
from gateway.enforce.parquet_view import render_parquet
from gateway.enforce.plan import parse_effect
from gateway.enforce.protocol import SandboxJob
from gateway.enforce.supervisor import Sandbox
from tests.fakes.sealed_bodies import PlainSource, SealedBodies, columns
from vault.envelope.body import BodySealer

KEY = bytes(range(32))
NUMBERS = [f"n{i}" for i in range(10)]
EFFECT = columns(
    email="pseudonymize", name="mask-to-default", born=("generalize", {"to": "year"}),
    postcode=("generalize", {"prefix": 2}), note="null", **dict.fromkeys(NUMBERS, "keep"),
)  # fmt: skip


def table(rows: int) -> pa.Table:
    first = dt.date(1930, 1, 1)
    made: dict[str, Any] = {
        "email": [f"person{i:08}@example.org" for i in range(rows)],
        "name": [f"Name {i % 50021} Surname {i % 70001}" for i in range(rows)],
        "born": [first + dt.timedelta(days=i * 7 % 30000) for i in range(rows)],
        "postcode": [f"{10000 + i * 31 % 89999}" for i in range(rows)],
        "note": [f"called about case {i}, will write to person{i:08}@example.org" for i in range(rows)],
    }
    for number, name in enumerate(NUMBERS):
        made[name] = pa.array([(i * (number + 3) * 7919) % 100_003 / 7 for i in range(rows)])
    return pa.table(made)


def timed(work: Callable[[], int]) -> tuple[float, int]:
    started = time.perf_counter()
    size = work()
    return time.perf_counter() - started, size


def in_process(render: Callable[..., Any], data: bytes) -> int:
    sent = 0

    def send(piece: bytes) -> None:
        nonlocal sent
        sent += len(piece)

    render(PlainSource(data), parse_effect(EFFECT), Masker(KEY), send, limits=Limits())
    return sent


def sandboxed(child: Sandbox, kind: str, sealed: SealedBodies) -> int:
    sealer = BodySealer(KEY, b"context")
    sent = 0

    def seal(piece: bytes) -> None:
        nonlocal sent
        sent += len(sealer.update(piece))

    child.run(SandboxJob("view", kind, sealed.bodies, EFFECT, None, KEY), sealed.read, seal)
    return sent + len(sealer.finalize())


def measure(rows: int) -> list[dict[str, Any]]:
    raw = table(rows)
    parquet, text = io.BytesIO(), io.BytesIO()
    pq.write_table(raw, parquet)
    pacsv.write_csv(raw, text)
    found = []
    for kind, data, render in (("parquet", parquet.getvalue(), render_parquet), ("csv", text.getvalue(), render_csv)):
        seconds, size = timed(lambda r=render, d=data: in_process(r, d))  # type: ignore[misc]
        found.append(figure(f"{kind} in process", rows, len(data), seconds, size))
        sealed = SealedBodies(data)
        began = time.perf_counter()
        with Sandbox([sys.executable, "-m", "gateway", "sandbox"]) as child:
            child.greet()
            cold = time.perf_counter() - began
            seconds, size = timed(lambda c=child, k=kind, s=sealed: sandboxed(c, k, s))  # type: ignore[misc]
            peak = peak_mib(child.pid)
        found.append(figure(f"{kind} sandboxed", rows, len(data), seconds, size) | {"cold_start_s": round(cold, 2),
                                                                                   "child_peak_mib": peak})
    return found


def figure(what: str, rows: int, size: int, seconds: float, out: int) -> dict[str, Any]:
    return {
        "what": what, "rows": rows, "object_mb": round(size / 1e6, 1), "view_mb": round(out / 1e6, 1),
        "seconds": round(seconds, 2), "mb_per_s": round(size / 1e6 / seconds, 1), "rows_per_s": round(rows / seconds),
    }  # fmt: skip


def peak_mib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    found = measure(asked.rows)
    if asked.json:
        print(json.dumps(found))
        return 0
    for each in found:
        print("  ".join(f"{name}={value}" for name, value in each.items()))
    print(f"this process's peak: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
