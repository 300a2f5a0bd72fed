"""Seal and unseal speed of one body on one core, beside a bare AES-GCM loop over the same chunks in the same run.

    python -m benchmarks.seal [--mib 64] [--rounds 7] [--json]

`stream` is the road a GET takes: stored bytes are copied out of a store (here: memory), opened slab by slab into
reused buffers, handed on as views. `cryptography` is that library's own streaming Cobblestone, which ours must
agree with. Each figure is the median round; GB are 10^9 plaintext bytes. Goal: stream >= 1.0 GB/s.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable

from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vault.envelope.body import SLAB, BodyOpener, BodyPin, BodySealer
from vault.envelope.context import BodyContext
from vault.envelope.suite import CHUNK, HEADER, SALT, SEALED_CHUNK

CONTEXT = BodyContext("bench", "de", "0" * 32, "1" * 32, 0).encode()
GOAL = 1.0


def seal(data_key: bytes, plain: bytes, sink: Callable[[bytes | bytearray | memoryview], object]) -> None:
    sealer = BodySealer(data_key, CONTEXT)
    sink(sealer.header)
    view = memoryview(plain)
    for at in range(0, len(plain), SLAB):
        sink(sealer.update(view[at : at + SLAB]))
    sink(sealer.finalize())


def unseal(data_key: bytes, body: memoryview) -> int:
    opener = BodyOpener(data_key, CONTEXT, body[:HEADER], len(body))
    total = 0
    for piece in opener.stream(0, opener.plain_length, lambda offset, length: bytes(body[offset : offset + length])):
        total += len(piece)
    return total


def unseal_ranges(data_key: bytes, body: memoryview, length: int) -> int:
    """Ranges of `length` bytes at odd places, a new pinned opener for each, as separate requests would."""
    pin = BodyPin(len(body), bytes(body[SALT:HEADER]))
    total = 0
    for start in range(1, len(body) - 2 * length, 4 * length):
        opener = BodyOpener(data_key, CONTEXT, body[:HEADER], len(body), pin)
        for piece in opener.stream(start, start + length, lambda offset, count: bytes(body[offset : offset + count])):
            total += len(piece)
    return total


def bare(data_key: bytes, sealed: memoryview) -> None:
    """Nothing but the cipher over the same chunks, one nonce: the ceiling."""
    aead, nonce, out = AESGCM(data_key), bytes(12), memoryview(bytearray(CHUNK))
    for at in range(0, len(sealed), SEALED_CHUNK):
        aead.decrypt_into(nonce, sealed[at : at + SEALED_CHUNK], None, out)


def speed(work: Callable[[], object], size: int, rounds: int) -> float:
    """Median GB/s of plaintext over the rounds, after one that only warms up."""
    work()
    seconds = []
    for _ in range(rounds):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return size / statistics.median(seconds) / 1e9


def measure(mib: int, rounds: int) -> dict[str, float]:
    """Every figure by name, GB/s."""
    size = mib << 20
    data_key, plain = os.urandom(32), os.urandom(size)
    parts: list[bytes] = []
    seal(data_key, plain, lambda piece: parts.append(bytes(piece)))
    stored = b"".join(parts)
    body = memoryview(stored)
    one = AESGCM(data_key).encrypt(bytes(12), plain[:CHUNK], None)
    same = memoryview(one * (size // CHUNK))
    encryptor = Cobblestone256Encryptor(data_key, CONTEXT)
    theirs = encryptor.update(plain) + encryptor.finalize()
    ranged = unseal_ranges(data_key, body, 65536)
    return {
        "bare AES-GCM decrypt, 16 KiB": speed(lambda: bare(data_key, same), size, rounds),
        "unseal, stream": speed(lambda: unseal(data_key, body), size, rounds),
        "unseal, 64 KiB ranges": speed(lambda: unseal_ranges(data_key, body, 65536), ranged, rounds),
        "seal": speed(lambda: seal(data_key, plain, len), size, rounds),
        "cryptography unseal": speed(lambda: Cobblestone256Decryptor(data_key, CONTEXT).update(theirs), size, rounds),
        "cryptography seal": speed(lambda: Cobblestone256Encryptor(data_key, CONTEXT).update(plain), size, rounds),
    }


def main(arguments: list[str] | None = None) -> int:
    """Print the figures; 1 where unsealing misses the goal, else 0."""
    parser = argparse.ArgumentParser(prog="benchmarks.seal", description="Seal and unseal speed of one core.")
    parser.add_argument("--mib", type=int, default=64, help="plaintext size of the body")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    figures = measure(options.mib, options.rounds)
    met = figures["unseal, stream"] >= GOAL
    if options.json:
        document = {"benchmark": "seal", "mib": options.mib, "figures": figures, "goal": GOAL, "met": met}
        sys.stdout.write(json.dumps(document | {"unit": "GB/s"}) + "\n")
        return 0 if met else 1
    ceiling = figures["bare AES-GCM decrypt, 16 KiB"]
    sys.stdout.write(f"one body of {options.mib} MiB, one core, median of {options.rounds}\n")
    for name, figure in figures.items():
        sys.stdout.write(f"  {name:<30}{figure:7.2f} GB/s{figure / ceiling:8.0%} of the bare loop\n")
    sys.stdout.write(f"goal: unseal, stream >= {GOAL} GB/s: {'met' if met else 'MISSED'}\n")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
