"""Another zone's data is never proxied: every verb of the S3 table on a dataset of `fr`, asked in `de`.

The caller is told where to go (or that there is nothing), no connection leaves this process, and nothing here changes.
"""

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.s3.actions import _TABLE
from tests.fakes.gateway_world import CSV, GatewayWorld
from tests.fakes.s3_port import S3Port

BODIES = {
    "delete": b"<Delete><Object><Key>a.csv</Key></Object></Delete>",
    "versioning": b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
    "tagging": b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>",
    "uploadId": b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>e</ETag></Part>"
                b"</CompleteMultipartUpload>",
}  # fmt: skip
VERBS = sorted((level, method, tuple(sorted(what))) for level, method, what in _TABLE if level != "service")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayWorld]:
    made = GatewayWorld(tmp_path_factory.mktemp("zone"))
    made.put("a.csv", CSV)
    made.catalog.create_dataset("far-away", "fr", "personal", True, "0" * 32)
    yield made
    made.close()


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every connection that is tried while the test runs."""
    tried: list[Any] = []

    def connect(self: socket.socket, address: Any) -> None:
        tried.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket.socket, "connect_ex", connect)
    return tried


def target(level: str, what: tuple[str, ...], dataset: str) -> str:
    spelled = {"uploadId": "uploadId=u&partNumber=1", "list-type": "list-type=2"}
    query = "&".join(spelled.get(name, name) for name in what)
    return f"/{dataset}" + ("/a.csv" if level == "object" else "") + (f"?{query}" if query else "")


@pytest.mark.parametrize("who", ["steward", "trainer", "stranger"])
@pytest.mark.parametrize(("level", "method", "what"), VERBS, ids=str)
def test_no_verb_reaches_another_zone(
    level: str, method: str, what: tuple[str, ...], who: str, world: GatewayWorld, sockets: list[Any]
) -> None:
    port = S3Port(world)
    caller = {
        "steward": lambda: world.steward,
        "trainer": lambda: world.attested(scope=("claims", "far-away")),
        "stranger": lambda: (
            world.person("stranger", "analytics") if world.catalog.principal_named("stranger") is None
            else world.analyst
        ),
    }[who]()  # fmt: skip
    body = b"".join(BODIES[name] for name in what if name in BODIES and method != "GET")
    address = target(level, what, "far-away")
    if method == "POST" and what == ("uploadId",):
        address = "/far-away/a.csv?uploadId=u"
    reads, objects, rows = len(world.store.reads), dict(world.store.objects), world.rows("select * from object_version")
    answer = port.ask(caller, method, address, body)
    if what == ("delete",) and answer.status == 200:  # DeleteObjects answers for each key by itself
        assert b"<Deleted>" not in answer.body
        assert b"<Code>AccessDenied</Code>" in answer.body
    else:
        assert answer.status >= 300
    assert CSV not in answer.body
    assert sockets == []
    assert (len(world.store.reads), dict(world.store.objects)) == (reads, objects)
    assert world.rows("select * from object_version") == rows
    assert answer.status not in {301, 302, 307, 308}, "a redirect would carry the caller's signature to a zone"


@pytest.mark.parametrize("part", ["", "?uploadId=u&partNumber=1"])
def test_nothing_is_copied_from_another_zone(part: str, world: GatewayWorld, sockets: list[Any]) -> None:
    port = S3Port(world)
    for source in ("/far-away/a.csv", "far-away/a.csv", "/fr/far-away/a.csv", "http://s3.fr.example/far-away/a.csv"):
        objects = dict(world.store.objects)
        answer = port.ask(world.steward, "PUT", f"/claims/b.csv{part}", headers=[("x-amz-copy-source", source)])
        assert 400 <= answer.status < 500
        assert sockets == []
        assert dict(world.store.objects) == objects


def test_who_may_know_is_told_where_to_go(world: GatewayWorld) -> None:
    who = world.attested(scope=("claims", "far-away"))
    answer = S3Port(world).ask(who, "GET", "/far-away/a.csv")
    assert (answer.status, answer.code) == (403, "AccessDenied")
    assert b"https://s3.fr.example" in answer.body


def test_every_verb_of_the_table_was_tried() -> None:
    assert len(VERBS) >= 20
