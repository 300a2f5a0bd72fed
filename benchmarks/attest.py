"""What attestation costs: an attested session, verifying each kind of evidence, the agent's answers, 1,000 renewals.

    python -m benchmarks attest      python -m benchmarks.attest [--part NAME…] [--vectors DIR] [--sessions N]

session   challenge → verify → appraise → record → issue, as one job sees the gateway over loopback: the times of its
          two requests, added. SNP evidence of a made-up chip with keys of AMD's sizes, every check made. Goal: 30 ms.
verify    verifying alone, in this process, each kind: evidence of made-up machines (their chains have RSA-2048 keys)
          and, with the published vectors, real evidence that holds.
agent     the credentials endpoint in a process of its own: a kept connection, and a new one an answer. Goal: 1 ms.
renewals  sessions that all re-attest at once at one gateway, on connections of their own, and try again when it is
          busy by the agent's own schedule.

Medians; CPU is that of all processes of the zone. Other work on the machine changes milliseconds, CPU less.
"""

import argparse
import asyncio
import json
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.attest_agent import agent_answers, quantiles
from benchmarks.attest_zone import Chip, Crowd, Job, Timed, job
from benchmarks.zone import Zone, publish, zone
from demesne._exchange import Exchange, Facts, run
from demesne.errors import DemesneError
from demesne.renewal import Renewal
from tests.conftest import vectors_path
from tests.fakes.attest_pki import NOW_MS
from tests.fakes.attest_trust import EXPECTED, Machines, TrustFiles
from vault.attest.admitted.verifiers import DEVICES, MACHINES, admitted_verifiers
from vault.attest.offline.manifest import Checked, check_entries, parse_manifest
from vault.attest.trust.directory import TrustDirectory
from vault.attest.verifier import Verifiers

GOAL_MS = 30.0
SESSIONS, ROUNDS, VERIFY_ROUNDS = 1000, 200, 100
WARM = 20
PARTS = ("session", "verify", "agent", "renewals")


def session(of: Job, measured: Zone) -> dict[str, Any]:
    """One job after another, one connection."""
    timed = Timed(of)
    for _ in range(WARM):
        run(of.exchange("warm").open(), timed.carry_out)
    timed.gateway.clear()
    cpu = measured.cpu_seconds()
    for _ in range(ROUNDS):
        run(of.exchange("measured").open(), timed.carry_out)
    cpu = measured.cpu_seconds() - cpu
    timed.close()
    challenges, opened = timed.gateway[::2], timed.gateway[1::2]
    whole = quantiles([one + other for one, other in zip(challenges, opened, strict=True)])
    return {
        "sessions": ROUNDS, "evidence_bytes": len(json.dumps(of.chip.evidence(bytes(64)))),
        "challenge": quantiles(challenges), "open": quantiles(opened), "whole": whole,
        "cpu_ms": round(cpu / ROUNDS * 1e3, 2), "goal_ms": GOAL_MS, "met": whole["p50_ms"] <= GOAL_MS,
    }  # fmt: skip


def verify(vectors: Path) -> dict[str, Any]:
    return {"made_up": dict(_made_up()), "real": dict(_real(vectors))}


def _repeated(call: Callable[[], object]) -> dict[str, float]:
    taken = []
    for _ in range(VERIFY_ROUNDS):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return quantiles(taken[WARM // 4 :])


def _made_up() -> Iterator[tuple[str, dict[str, float]]]:
    machines = Machines()
    with tempfile.TemporaryDirectory() as directory:
        files = TrustFiles(Path(directory))
        machines.trust(files)
        verifiers = admitted_verifiers(TrustDirectory(files.path), development=False, roots=machines.roots)
        for kind in sorted(MACHINES | DEVICES):
            evidence = machines.evidence(kind)
            size = len(json.dumps(evidence))
            yield kind, {"bytes": size, **_repeated(_verification(verifiers, kind, evidence))}


def _verification(verifiers: Verifiers, kind: str, evidence: dict[str, Any]) -> Callable[[], object]:
    if kind in DEVICES:
        return lambda: verifiers.verify_devices([{"kind": kind, "evidence": evidence}], EXPECTED, NOW_MS)
    return lambda: verifiers.verify(kind, evidence, EXPECTED, NOW_MS)


def _real(vectors: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """Entries that hold. What is measured includes reading the files' forms (PEM, JSON), as `demesne attest` does."""
    folder = vectors / "attestation"
    if not (folder / "MANIFEST.json").is_file():
        return
    for entry in parse_manifest((folder / "MANIFEST.json").read_bytes()):
        contents = {name: (folder / name).read_bytes() for name in entry["files"] if (folder / name).is_file()}
        present = int(time.time() * 1000)
        checked = _checked(entry, contents, present)
        if checked.agrees and checked.outcome in {"ok", "UpToDate"}:
            size = sum(map(len, contents.values()))
            taken = _repeated(partial(_checked, entry, contents, present))
            yield f"{entry['kind']}: {entry['id']}", {"bytes": size, **taken}


def _checked(entry: dict[str, Any], contents: dict[str, bytes], present: int) -> Checked:
    [found] = check_entries([entry], contents.__getitem__, present)
    return found


async def renewals(of: Job, measured: Zone, count: int) -> dict[str, Any]:
    """`count` open sessions; then all of them at once ask for a challenge and attest again, and again as the agent does
    when the gateway says that it is busy (503 with Retry-After)."""
    crowd = Crowd(of)
    held = []
    for number in range(count):
        exchange = of.exchange(f"renewing-{number % 10}")
        held.append((exchange, await crowd.do(exchange.open())))
    cpu, began = measured.cpu_seconds(), time.monotonic()
    ended = await asyncio.gather(*(_renewal(crowd, exchange, facts, began) for exchange, facts in held))
    wall, cpu = time.monotonic() - began, measured.cpu_seconds() - cpu
    fresh = min(facts.fresh_seconds for _, facts in held)
    taken = [one.seconds for one in ended]
    return {
        "sessions": count, "wall_s": round(wall, 2), **quantiles(taken), "last_s": round(max(taken), 2),
        "cpu_ms": round(cpu / count * 1e3, 2), "renewals_s": round(count / wall, 1),
        "refused": sum(not one.renewed for one in ended), "put_off": sum(one.tries - 1 for one in ended),
        "fresh_s": fresh,
        # The agent renews at a third of its freshness: who waited for less than two thirds never lost it.
        "kept_fresh": all(one.renewed for one in ended) and max(taken) < fresh * 2 / 3,
    }  # fmt: skip


@dataclass(frozen=True)
class Renewed:
    seconds: float
    tries: int
    renewed: bool


async def _renewal(crowd: Crowd, exchange: Exchange, facts: Facts, began: float) -> Renewed:
    schedule, tries = Renewal(facts.fresh_seconds, random.random), 0
    while True:
        tries += 1
        try:
            again: Facts = await crowd.do(exchange.renew(facts, datetime.now(UTC)))
        except DemesneError as error:
            pause = schedule.failed(error, time.monotonic() - began)
            if pause is None:
                return Renewed(time.monotonic() - began, tries, renewed=False)
            await asyncio.sleep(pause)
        else:
            return Renewed(time.monotonic() - began, tries, again.session_id == facts.session_id)


def measured(parts: list[str], vectors: Path, sessions: int) -> dict[str, Any]:
    found: dict[str, Any] = {"load_before": os.getloadavg()[0]}
    if "verify" in parts:
        found["verify"] = verify(vectors)
    if "agent" in parts:
        found["agent"] = agent_answers()
    if {"session", "renewals"} & set(parts):
        with zone() as running:
            of = job(running, Chip())
            if "session" in parts:
                found["session"] = session(of, running)
            if "renewals" in parts:
                found["renewals"] = asyncio.run(renewals(of, running, sessions))
    return found


def table(found: dict[str, Any]) -> Iterator[str]:
    if one := found.get("session"):
        yield f"session    {_times(one['whole'])}   goal {one['goal_ms']} ms"
        for part in ("challenge", "open"):
            yield f"  {part:8} {_times(one[part])}"
        yield f"  CPU of the zone: {one['cpu_ms']} ms a session"
    for name, kinds in (found.get("verify") or {}).items():
        for kind, taken in kinds.items():
            yield f"verify     {_times(taken)}   {taken['bytes']:7} bytes, {name.replace('_', ' ')}, {kind}"
    if one := found.get("agent"):
        for way in ("kept", "fresh"):
            yield f"agent      {_times(one[way])}   {way} connection, goal {one['goal_ms']} ms"
    if one := found.get("renewals"):
        yield f"renewals   {_times(one)}   {one['sessions']} at once, {one['wall_s']} s for all"
        yield f"  {one['refused']} refused, {one['put_off']} times put off, kept fresh: {one['kept_fresh']}"
        yield f"  CPU of the zone: {one['cpu_ms']} ms each"


def _times(taken: dict[str, Any]) -> str:
    return f"p50 {taken['p50_ms']:9.3f} ms   p99 {taken['p99_ms']:9.3f} ms"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--part", action="append", choices=PARTS, help="only this; may be repeated")
    options.add_argument("--vectors", type=Path, default=vectors_path(), help="published vectors, for real evidence")
    options.add_argument("--sessions", type=int, default=SESSIONS)
    given = options.parse_args()
    found = measured(given.part or list(PARTS), given.vectors, given.sessions)
    publish("attest", found)
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
