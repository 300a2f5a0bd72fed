"""GET of 64 MiB through the gateway, policy and ledger on, beside nginx serving the same file plain.

    python -m benchmarks.get [--mib 64] [--rounds 9]

One kept-alive connection each, taking turns in the same run; the client reads into one buffer. Goal:
at least 0.5 of nginx (medians).
"""

import argparse
import os
import tempfile
from pathlib import Path

from benchmarks.zone import RawClient, address_of, median, nginx, plain_get, publish, zone

GOAL = 0.5


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--mib", type=int, default=64)
    options.add_argument("--rounds", type=int, default=9)
    given = options.parse_args()
    size = given.mib << 20
    data = os.urandom(size)
    with tempfile.TemporaryDirectory(prefix="dms-nginx-") as directory, zone() as served:
        root = Path(directory)
        root.chmod(0o755)
        (root / "file.bin").write_bytes(data)
        served.s3().put_object(Bucket="bench", Key="file.bin", Body=data)
        with nginx(root) as plain:
            ours = RawClient(address_of(served.ready["s3_endpoint"]))
            theirs = RawClient(address_of(plain)) if plain else None
            gateway, peer, first = [], [], []
            for number in range(given.rounds + 1):
                seconds = ours.get(served.signed_get("file.bin"), size)
                beside = theirs.get(plain_get(f"{plain}/file.bin"), size) if theirs and plain else 0.0
                if number:  # the first round warms both
                    gateway.append(seconds)
                    first.append(ours.first_byte)
                    peer.append(beside)
            before = served.cpu_seconds()
            spent = sum(ours.get(served.signed_get("file.bin"), size) for _ in range(given.rounds))
            busy = served.cpu_seconds() - before
    figures = {
        "mib": given.mib, "rounds": given.rounds, "gateway_gb_s": round(size / median(gateway) / 1e9, 3),
        "gateway_cpu_share": round(busy / spent, 2), "gateway_cpu_s_gb": round(busy * 1e9 / size / given.rounds, 3),
        "first_byte_ms": round(median(first) * 1000, 2),
        "body_gb_s": round(size / median([a - b for a, b in zip(gateway, first, strict=True)]) / 1e9, 3),
    }  # fmt: skip
    if theirs:
        figures |= {"nginx_gb_s": round(size / median(peer) / 1e9, 3),
                    "ratio": round(median(peer) / median(gateway), 3), "goal": GOAL}  # fmt: skip
    publish("get", figures)


if __name__ == "__main__":
    main()
