"""`python -m tests.fuzz [--seconds N] [--only NAME …] [--out FILE]`: coverage-guided fuzzing of evidence (atheris).

Each target runs in a process of its own, so that one which hangs or grows is ended and named: 2 s and 1 GiB for one
input. Exit 0 when nothing was found, 1 with the input's path when something was.
"""

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_INPUT_SECONDS = 2
_MEGABYTES = 1024
_MOST_BYTES = 16 * 1024
_EXECUTIONS = re.compile(r"number_of_executed_units:\s*(\d+)")
_PEAK = re.compile(r"peak_rss_mb:\s*(\d+)")


def one(name: str, seconds: int, folder: Path) -> None:
    """In the child: never returns, libFuzzer ends the process."""
    import atheris  # type: ignore[import-untyped]

    # Coverage is of what reads evidence; instrumenting the libraries under it would only slow it down.
    with atheris.instrument_imports(include=["vault.attest"], enable_loader_override=False):
        from tests.fuzz.targets import targets
    target = targets()[name]
    corpus, found = folder / "corpus", folder / "found"
    for made in (corpus, found):
        made.mkdir(exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    arguments = [
        sys.argv[0], str(corpus), f"-max_total_time={seconds}", f"-timeout={_INPUT_SECONDS}",
        f"-rss_limit_mb={_MEGABYTES}", f"-max_len={_MOST_BYTES}", f"-artifact_prefix={found}/", "-print_final_stats=1",
    ]  # fmt: skip

    def mutated(raw: bytes, most: int, seed: int) -> bytes:
        """Every second time a genuine input with one to three bytes changed: most of a layout stays as it is, and
        so the checks behind the first are reached."""
        chance = random.Random(seed)
        if chance.random() < 0.5:
            return bytes(atheris.Mutate(raw, most))
        changed = bytearray(chance.choice(target.seeds)[:most])
        for _ in range(chance.randint(1, 3)):
            changed[chance.randrange(len(changed))] = chance.choice((chance.randrange(256), 0, 1, 0x80, 0xFF))
        return bytes(changed)

    atheris.Setup(arguments, target.run, custom_mutator=mutated)
    atheris.Fuzz()


def run(name: str, seconds: int) -> dict[str, object]:
    """Run one target in a child; what it did, and what it found."""
    folder = Path(tempfile.mkdtemp(prefix=f"demesne-fuzz-{name}-"))
    started = time.monotonic()
    # Through a shell that forks: a process inherits the peak memory of the one that began it (getrusage(2)), and a test
    # run of two gigabytes would be the fuzzed reader's.
    child = subprocess.run(
        ["/bin/sh", "-c", '"$@"; exit $?', "sh",
         sys.executable, "-m", "tests.fuzz", "--child", name, str(seconds), str(folder)],
        capture_output=True, text=True, timeout=seconds + 120, check=False,
    )  # fmt: skip
    said = child.stderr + child.stdout
    executions, peak = _EXECUTIONS.search(said), _PEAK.search(said)
    inputs = sorted(str(path) for path in (folder / "found").glob("*"))
    failed = child.returncode != 0 or executions is None
    return {
        "target": name, "seconds": round(time.monotonic() - started, 1),
        "executions": int(executions[1]) if executions else 0, "peak_mb": int(peak[1]) if peak else 0,
        "found": inputs or (["it ended by itself"] if failed else []), "said": said[-3000:] if failed else "",
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--only", nargs="*", default=[], help="names of targets; all without it")
    parser.add_argument("--out", type=Path, help="write the table as JSON")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        one(given.child[0], int(given.child[1]), Path(given.child[2]))
        return 0
    from tests.fuzz.targets import targets

    names = sorted(targets())
    unknown = set(given.only) - set(names)
    if unknown:
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    rows = []
    for name in given.only or names:
        row = run(name, given.seconds)
        rows.append(row)
        state = f"FOUND {row['found']}\n{row['said']}" if row["found"] else "nothing found"
        print(f"{name:14} {row['executions']:>9} inputs {row['peak_mb']:>5} MB  {state}", flush=True)
    if given.out:
        kept = [{key: value for key, value in row.items() if key != "said"} for row in rows]
        given.out.write_text(json.dumps({"seconds": given.seconds, "targets": kept}, indent=1) + "\n")
    return 1 if any(row["found"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
