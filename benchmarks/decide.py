"""How long a decision takes: in the engine child alone, with the pipe, and through the whole of `Doctrine`.

Goals: p99 in the child below 0.5 ms, the way there and back below 1 ms. `python benchmarks/decide.py [--json]`.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gateway.decide.bundle import read_bundle
from gateway.decide.doctrine import DECISION, Doctrine
from gateway.decide.document import encode
from gateway.decide.regorus import Regorus
from gateway.decide.regorus_child import engine_of
from tests.fakes import decision_inputs as given
from tests.fakes.doctrine import POLICIES

ROUNDS = 3000


def quantiles(seconds: list[float]) -> dict[str, int]:
    """p50 and p99 in whole microseconds."""
    ordered = sorted(seconds)
    return {"p50_us": round(ordered[len(ordered) // 2] * 1e6), "p99_us": round(ordered[len(ordered) * 99 // 100] * 1e6)}


def in_the_child(document: dict[str, Any]) -> dict[str, int]:
    """Input parse, evaluation and answer, as the child does them."""
    bundle = read_bundle(POLICIES)
    engine = engine_of({"modules": bundle.modules, "data": bundle.data})
    text = encode(document).decode()
    taken = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        engine.set_input_json(text)
        engine.eval_rule_as_json("data.demesne.main.decision")
        taken.append(time.perf_counter() - started)
    return quantiles(taken[100:])


async def timed(ask: Callable[[], Awaitable[Any]]) -> dict[str, int]:
    taken = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        await ask()
        taken.append(time.perf_counter() - started)
    return quantiles(taken[100:])


async def measure() -> dict[str, dict[str, int]]:
    engine = Regorus()
    doctrine = Doctrine(engine, POLICIES, lambda: 0)
    if not await doctrine.reload():
        raise SystemExit(str(doctrine.status.refused))
    results = {}
    try:
        for name, document in (("masked", given.analyst_reads()), ("raw", given.trainer_reads())):
            results[f"{name}, in the child"] = in_the_child(document)
            results[f"{name}, with the pipe"] = await timed(lambda asked=document: engine.evaluate(DECISION, asked))  # type: ignore[misc]
            results[f"{name}, decided"] = await timed(lambda asked=document: doctrine.decide(asked))  # type: ignore[misc]
    finally:
        await doctrine.close()
    return results


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--json", action="store_true")
    as_json = arguments.parse_args().json
    results = asyncio.run(measure())
    if as_json:
        sys.stdout.write(json.dumps({"benchmark": "decide", "results": results}) + "\n")
        return
    for name, taken in results.items():
        sys.stdout.write(f"{name:24} p50 {taken['p50_us']:>6} us   p99 {taken['p99_us']:>6} us\n")


if __name__ == "__main__":
    main()
