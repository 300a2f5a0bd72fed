"""One name, decoded once: policy input, ledger record, sealed manifest and store request are of the same key, or
nothing happened at all. The real stack in one process, from the signature down; path-style and host-style.
"""

import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.identity.canonical import canonical_path
from tests.fakes.gateway_world import GatewayWorld
from tests.fakes.s3_client import WireRequest
from tests.fakes.s3_port import S3Port

PIECES = [
    "%2F", "%2f", "%252F", "%252f", "//", "/./", "/../", "..%2f", "%2e%2e%2f", "%2e", "..", ".", "...", "%5c",
    "%5C..%5C", "%00", "%0a", "%0d%0a", "%09", "%20", "+", "%2B", ";", "%3Bv=1", "%3F", "%23", "%25", "%2525", "%7E",
    "~", "%C0%AF", "%E0%80%AF", "%F0%80%80%AF", "%ED%A0%80", "%FF", "%C3%A4", "%c3%a4", "a%CC%88", "%EF%BC%8F",
    "%E2%80%AE", "%zz", "%", "%1", "K", "k", "%4B", "*", "&", "%26versionId=null", ":", "@", "=", "%3Dx", "claims",
    "%2Fother%2Fk",
]  # fmt: skip
PATTERNS = ["x{}y", "{}x", "x{}", "{}"]
CASES = [pattern.format(piece) for piece, pattern in itertools.product(PIECES, PATTERNS)]


class Confused:
    """Puts and gets by raw path, and holds every part to the name that the path means."""

    def __init__(self, directory: Path) -> None:
        self.world = GatewayWorld(directory)
        self.port = S3Port(self.world)
        self.reader = self.world.attested()
        self.there: dict[str, bytes] = {}
        self.refused = 0

    def request(self, method: str, raw: str, body: bytes = b"", *, host_style: bool = False) -> WireRequest:
        """Signed over the canonical spelling of the path, sent as it is: what may go over the wire is more than what
        clients write."""
        who = self.world.steward if method == "PUT" else self.reader
        target, host = (f"/{raw}", "claims.s3.localhost") if host_style else (f"/claims/{raw}", "127.0.0.1:9000")
        bad = re.search(r"%(?![0-9A-Fa-f]{2})", target)
        signed = target if bad else canonical_path(target.encode()).decode()
        request = self.port.signed(who, method, signed, body, host=host)
        request.path = target.encode()
        return request

    def check(self, raw: str, *, host_style: bool = False) -> None:
        key, body = meant(raw), os.urandom(24)
        world = self.world
        asked, entries = len(world.engine.asked), len(world.ledger.entries)
        objects = dict(world.store.objects)
        answer = self.port.send(self.request("PUT", raw, body, host_style=host_style))
        if key is None or answer.status != 200:
            assert 400 <= answer.status < 500, (raw, answer.status)
            assert key is None or not acceptable(key), f"{raw} is a name, and was refused: {answer.body!r}"
            assert [entry for entry in world.ledger.entries[entries:] if entry["type"] == "commit"] == []
            assert world.store.objects == objects
            self.refused += 1
            return
        assert acceptable(key), f"{raw} was taken for {key!r}"
        self.there[key] = body
        self.names(key, asked, entries)
        asked, entries, reads = len(world.engine.asked), len(world.ledger.entries), len(world.store.reads)
        answer = self.port.send(self.request("GET", raw, host_style=host_style))
        assert (answer.status, answer.body) == (200, body)
        self.names(key, asked, entries)
        version = world.version(key)
        places = {row[0] for row in world.rows("select store_key from body where subject = ?", version.version_id)}
        places |= {row[0] for row in world.rows(
            "select store_key from manifest_generation where manifest_id = ?", version.manifest_id
        )}  # fmt: skip
        read = {name for name, _, _ in world.store.reads[reads:]}
        assert read, "nothing was read from the store"
        assert read <= places

    def names(self, key: str, asked: int, entries: int) -> None:
        """What the doctrine was asked and what the ledger holds since then is of `key` and of nothing else."""
        refs = [
            document["request"]["ref"]
            for path, document in self.world.engine.asked[asked:]
            if path.endswith("decision")
        ]
        assert refs
        assert {(ref["dataset"], ref["key"]) for ref in refs} == {("claims", key)}
        recorded = [entry["object"] for entry in self.world.ledger.entries[entries:] if entry.get("object")]
        assert recorded
        assert set(recorded) == {self.world.guard.recorder.object(key)}

    def end(self) -> None:
        """Every name still has what was last written to it: none of them was another's."""
        for key, body in self.there.items():
            found = self.world.read(self.reader, key)
            assert found.body == body, key
        dataset = self.world.dataset_row().dataset_id
        keys = {row[0] for row in self.world.rows("select key from object_version where dataset_id = ?", dataset)}
        assert keys == set(self.there)


def meant(raw: str) -> str | None:
    """The name that a raw path means: escapes decoded once, strict UTF-8; None where there is none."""
    if re.search(r"%(?![0-9A-Fa-f]{2})", raw):
        return None
    try:
        return unquote_to_bytes(raw.encode()).decode("utf-8")
    except UnicodeDecodeError:
        return None


def acceptable(key: str) -> bool:
    """What docs/spec/s3-subset.md lets a key be."""
    return 1 <= len(key.encode()) <= 1024 and "\0" not in key


@pytest.fixture(scope="module")
def confused(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Confused]:
    made = Confused(tmp_path_factory.mktemp("confused"))
    yield made
    made.end()
    print({"names": len(made.there), "refused": made.refused})
    made.world.close()


@pytest.mark.parametrize("raw", CASES)
def test_a_name_is_one_name_everywhere(raw: str, confused: Confused) -> None:
    confused.check(raw)


@pytest.mark.parametrize("raw", CASES[::4])
def test_in_the_host_style_too(raw: str, confused: Confused) -> None:
    confused.check(raw, host_style=True)


def spelled(data: Any, text: str) -> str:
    """`text` as a path: each byte escaped or not, in either case, as somebody may write it."""
    out = ""
    for byte in text.encode():
        plain = chr(byte)
        must = not (plain.isalnum() or plain in "-._~/!$'()*,:@") or byte > 126
        how = data.draw(st.sampled_from(["upper", "lower"] if must else ["plain", "plain", "upper", "lower"]))
        out += plain if how == "plain" else (f"%{byte:02X}" if how == "upper" else f"%{byte:02x}")
    return out


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(data=st.data(), key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12))
def test_however_it_is_spelled(data: Any, key: str, confused: Confused) -> None:
    raw = spelled(data, key)
    assert meant(raw) == key
    confused.check(raw, host_style=data.draw(st.booleans()))


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 200
