"""What is refused costs a record only where a known principal was decided about, and only so often."""

from typing import Any

import pytest

from demesne.credentials import Credentials
from lineage.ledger.reader import LedgerReader
from tests.e2e.world import PURPOSE, until
from tests.fault.hostile.conftest import REFUSALS
from tests.fault.hostile.wire import LONG, Target, answer, well_behaved


def entries(target: Target, start: int) -> list[dict[str, Any]]:
    reader = LedgerReader(target.world.zone_dir() / "ledger")
    return reader.entries(start, reader.size)


def settled(target: Target) -> int:
    """The ledger's size once what was recorded so far is published."""
    last = [-1]

    def same() -> bool:
        now = LedgerReader(target.world.zone_dir() / "ledger").size
        still, last[0] = now == last[0], now
        return still

    until(same, 20, "the ledger keeps growing", pause=1.2)
    return last[0]


FORGED = {
    "unsigned": b"GET /hostile/small HTTP/1.1\r\nhost: h\r\n\r\n",
    "unknown-key": b"GET /hostile/small?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=NOBODY%2F20260101%2Fde"
    b"%2Fs3%2Faws4_request&X-Amz-Date=20260101T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature="
    + b"0" * 64 + b" HTTP/1.1\r\nhost: h\r\n\r\n",
    "malformed": b"GET /hostile/small HTTP/1.1\r\nhost: h\r\nauthorization: AWS4-HMAC-SHA256 nonsense\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("kind", [*FORGED, "wrong-signature"])
def test_strangers_write_nothing_into_the_ledger(target: Target, kind: str) -> None:
    """Nothing but the summary of each minute, however many they are."""
    start, count = settled(target), 5000 if LONG else 200
    request = FORGED.get(kind) or target.get().replace(b"Signature=", b"Signature=0")[:-5] + b"\r\n\r\n"
    with target.connect() as client:
        for _ in range(count):
            client.sendall(request)
            assert answer(client)[0] in {400, 403}
    settled(target)
    found = entries(target, start)
    assert {entry["type"] for entry in found} <= {"unauthenticated", "limited", "residency"}
    assert len(found) <= 8


def test_strangers_do_not_keep_others_waiting(target: Target) -> None:
    with well_behaved(target) as reader, target.connect() as client:
        for _ in range(10_000 if LONG else 800):
            client.sendall(FORGED["unknown-key"])
            answer(client)
    reader.check()


def test_refusals_of_a_known_key_are_limited(target: Target) -> None:
    """Its denials are on record, each of them, up to the bound; then it hears 503 with Retry-After and writes
    nothing. Another principal goes on; the summary names how many."""
    with target.world.api() as api:
        api.create_dataset("closed", synthetic=True)
        made = api.create_principal(
            "nosy", kind="workload", roles=["trainer"], jurisdiction="de", purposes=[PURPOSE], purpose=PURPOSE
        )
    nosy = Credentials(made["access_key_id"], made["secret_access_key"])
    start, denied, slowed = settled(target), 0, 0
    path = "/closed/x"
    with target.connect() as client, target.connect() as other:
        for _ in range(REFUSALS * 5):
            client.sendall(target.signed("GET", path, who=nosy))
            status, body = answer(client)
            denied += status in {403, 404}
            slowed += status == 503 and b"limit.refusals" in body
        other.sendall(target.get())
        assert answer(other)[0] == 200
    assert denied + slowed == REFUSALS * 5
    assert REFUSALS <= denied <= 2 * REFUSALS
    settled(target)
    intents = [entry["decision"] for entry in entries(target, start) if entry["type"] == "intent"]
    assert len([decision for decision in intents if not decision["allow"]]) == denied
    if LONG:
        until(
            lambda: [entry for entry in entries(target, start) if entry["type"] == "limited"], 75,
            "no summary of what was turned away",
            lambda found: sum(entry["count"] for entry in found) == slowed and "nosy" not in str(found), pause=2,
        )  # fmt: skip
