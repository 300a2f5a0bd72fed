"""Write the figures of benchmarks/out into docs/performance.md, between its two markers.

    python -m benchmarks.report [--check]

Run it after the programs; what has not been measured is left out. --check only says whether the page is up to date.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.zone import OUT

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- figures: python -m benchmarks.report -->", "<!-- end of figures -->"
Table = tuple[str, list[str], list[list[Any]]]


def load(name: str) -> dict[str, Any] | None:
    path = OUT / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def tables() -> Iterator[Table]:
    if found := load("get"):
        keys = ["gateway_gb_s", "first_byte_ms", "body_gb_s", "gateway_cpu_s_gb", "nginx_gb_s", "ratio", "goal"]
        yield "GET of 64 MiB (`benchmarks get`)", keys, [[found.get(key, "") for key in keys]]
    if found := load("peers"):
        yield from _peers(found)
    if found := load("ranges"):
        keys = ["clients", "p50_ms", "p99_ms", "reads_s", "reads_cpu_s"]
        yield "64 KiB ranges of ours (`benchmarks ranges`)", keys, [[run[key] for key in keys] for run in found["runs"]]
    if found := load("seal"):
        rows = [[name, round(value, 2)] for name, value in found["figures"]["figures"].items()]
        yield "Sealing, GB/s a core (`benchmarks seal`)", ["what", "GB/s"], rows
    if found := load("decide"):
        rows = [[name, taken["p50_us"], taken["p99_us"]] for name, taken in found["figures"]["results"].items()]
        yield "Decisions (`benchmarks decide`)", ["what", "p50 us", "p99 us"], rows
    if found := load("memory"):
        keys = ["mib", "peak_mib", "gb_s"]
        title = f"Memory of the front worker, {found['clients']} GETs at once, {found['idle_mib']} MiB idle"
        yield title + " (`benchmarks memory`)", keys, [[run[key] for key in keys] for run in found["runs"]]
    if found := load("growth"):
        kinds = ["range_read", "list_1000_keys", "list_5_prefixes", "catalog_lookup"]
        rows = [[run["objects"], *(run[kind]["p50_ms"] for kind in kinds), run["catalog_mib"]] for run in found["runs"]]
        yield "Growth, p50 in ms (`benchmarks growth`)", ["objects", *kinds, "catalog_mib"], rows
    if found := load("attest"):
        yield from _attest(found)
    if found := load("http_server"):
        keys = ["gb_s", "cpu_s_gb", "small_request_cpu_us"]
        rows = [[way, *(taken[key] for key in keys)] for way, taken in found["ways"].items()]
        yield "Three ways out of one ASGI app (`benchmarks http_server`)", ["way", *keys], rows


def _attest(found: dict[str, Any]) -> Iterator[Table]:
    load = f"load of the machine when it began: {found['load_before']:.1f}"
    rows = []
    if one := found.get("session"):
        parts = {"attested session, both requests": one["whole"], "challenge": one["challenge"], "session": one["open"]}
        rows += [[name, taken["p50_ms"], taken["p99_ms"]] for name, taken in parts.items()]
    if one := found.get("agent"):
        rows += [
            [f"agent's answer, {way} connection", one[way]["p50_ms"], one[way]["p99_ms"]] for way in ("kept", "fresh")
        ]
    for name, kinds in (found.get("verify") or {}).items():
        made = "made-up evidence" if name == "made_up" else "real evidence"
        rows += [[f"verify, {made}: {kind}", taken["p50_ms"], taken["p99_ms"]] for kind, taken in kinds.items()]
    yield f"Attestation (`benchmarks attest`; {load})", ["what", "p50 ms", "p99 ms"], rows
    if one := found.get("renewals"):
        keys = ["sessions", "wall_s", "p50_ms", "p99_ms", "cpu_ms", "refused", "put_off", "kept_fresh"]
        yield "Sessions that renew at once (`benchmarks attest`)", keys, [[one[key] for key in keys]]


def _peers(found: dict[str, Any]) -> Iterator[Table]:
    times = ["p50_ms", "p99_ms", "reads_s", "reads_cpu_s"]
    kinds = {"get": ["gb_s", "cpu_s_gb"], "put": ["mb_s", "cpu_s_gb"], "ranges_1": times, "ranges_16": times}
    for kind, keys in kinds.items():
        part = found[kind]
        rows = [
            [name, "sealed" if found["encrypts"][name] else "plain", *(taken[key] for key in keys),
             part["ours_to_theirs"].get(name, "")]
            for name, taken in part["figures"].items()
        ]  # fmt: skip
        yield f"Peers: {kind} (`benchmarks peers`)", ["server", "at rest", *keys, "ours / theirs"], rows


def rendered() -> str:
    found = next((load(path.stem) for path in sorted(OUT.glob("*.json"))), None)
    where = found["machine"] if found else {}
    cpu, cores, python, kernel = (where.get(name, "?") for name in ("cpu", "cores", "python", "kernel"))
    lines = [f"Machine: {cpu}, {cores} cores, Python {python}, Linux {kernel}."]
    for title, head, rows in tables():
        lines += ["", f"**{title}**", "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--check", action="store_true")
    given = options.parse_args()
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    written = f"{before}{BEGIN}\n{rendered()}\n\n{END}{after}"
    if given.check:
        return 0 if written == page else 1
    PAGE.write_text(written)
    return 0


if __name__ == "__main__":
    sys.exit(main())
