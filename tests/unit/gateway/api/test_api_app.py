"""The API as a caller meets it: signed requests through the authenticator, problems as RFC 9457, closed by default."""

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.api.app import ApiParts, create_api
from gateway.api.caller import OPEN_PATHS, AuthenticatedApi
from gateway.api.records import Records
from gateway.identity.errors import Unauthenticated
from gateway.identity.lookup import SecretKey
from gateway.identity.principal import Principal
from gateway.identity.sigv4 import Verifier
from gateway.kbs.tickets import Tickets
from gateway.keys import KeyOrders
from gateway.ops.health import readiness
from gateway.statements import Statements
from gateway.tpm_keys import TpmKeys
from lineage.errors import Unavailable as LedgerUnavailable
from lineage.graph import GraphWriter
from lineage.ledger.reader import LedgerReader
from lineage.names import NoNames
from lineage.projector import Projector
from tests.fakes.gateway_world import CSV, GatewayWorld, contract_for
from tests.fakes.ledger import ledger_down
from tests.fakes.s3_client import signed
from tests.unit.lineage.ledger.running import write_ledger

SECRET = "secret"


class Reply:
    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Api:
    """The application behind its authenticator. Each principal's access key is its own, one secret for all."""

    def __init__(self, directory: Path) -> None:
        self.world = GatewayWorld(directory)
        self.refused: list[str] = []
        self.people = {p.access_key_id: p for p in (self.world.steward, self.world.analyst, self.world.trainer)}
        self.workers = {"ledger": "ok", "broker": "ok"}
        records = Records(directory / "ledger", directory / "lineage.sqlite3", self.world.signer.public_key)
        world = self.world
        self.app = create_api(ApiParts(
            guard=world.guard, registry=world.registry, sessions=world.sessions, revocations=world.revocations,
            records=records, directory=world.zones,
            readiness=readiness(world.facts, world.doctrine, lambda: self.workers),
            metrics=world.metrics.render, keys=KeyOrders(world.guard, world.catalog, world.broker, tenant="main"),
            statements=Statements(world.guard, world.catalog),
            tpm_keys=TpmKeys(world.guard, world.catalog, world.broker, token_key=world.hello.token_key),
            tickets=Tickets(world.guard, world.catalog, world.sessions.attesting),
        ))  # fmt: skip
        verifier = Verifier(self, region="de", service="demesne", clock=time.time)
        self.front = AuthenticatedApi(self.app, verifier, self.refused.append)

    async def lookup(self, access_key_id: str, security_token: str | None) -> SecretKey:
        if access_key_id not in self.people:
            raise Unauthenticated("InvalidAccessKeyId", "unknown")
        return SecretKey(SECRET, self.people[access_key_id])

    def ask(
        self, method: str, path: str, body: Any = None, *, who: Principal | None = None, raw: bytes | None = None,
        **signing: Any,
    ) -> Reply:  # fmt: skip
        data = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        headers = [("content-type", "application/json")] if data else []
        options = {"key": (who or self.world.steward).access_key_id, "secret": SECRET, "region": "de"} | signing
        request = signed(method, path, body=data, headers=headers, service="demesne", **options)
        scope = request.scope() | {"path": request.path.decode(), "root_path": "", "http_version": "1.1"}
        return self.send(scope, request.body)

    def send(self, scope: dict[str, Any], body: bytes = b"") -> Reply:
        sent: list[Any] = []
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        self.world.run(self.front(scope, receive, send))
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Reply(sent[0]["status"], headers, b"".join(m.get("body", b"") for m in sent[1:]))

    def publish(self) -> None:
        """What was recorded, as the sequencer leaves it on disk, and projected."""
        write_ledger(self.world.directory, self.world.ledger.entries)
        graph = GraphWriter(self.world.directory / "lineage.sqlite3")
        Projector(LedgerReader(self.world.directory / "ledger"), graph, NoNames(), "de").catch_up()
        graph.close()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    made = Api(tmp_path)
    yield made
    made.world.close()


def problem(reply: Reply, status: int, code: str) -> dict[str, Any]:
    document: dict[str, Any] = reply.json
    assert (reply.status, document["code"]) == (status, code), document
    assert reply.headers["content-type"] == "application/problem+json"
    assert set(document) == {"type", "title", "status", "code", "detail", "rule", "decision_id", "remedy"}
    assert document["status"] == status
    return document


# --- closed by default


def routes(api: Api) -> list[tuple[str, str]]:
    paths: dict[str, Any] = api.app.openapi()["paths"]
    return [(method.upper(), path) for path, operations in paths.items() for method in operations]


def test_no_route_answers_the_unsigned_but_the_three_of_operation(api: Api) -> None:
    found = routes(api)
    assert len(found) > 20
    for method, path in found:
        before = len(api.world.ledger.entries)
        scope = {
            "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
            "headers": [(b"host", b"x")], "scheme": "http", "client": ("127.0.0.1", 1), "root_path": "",
            "http_version": "1.1",
        }  # fmt: skip
        reply = api.send(scope, b"{}")
        if path in OPEN_PATHS:
            assert reply.status == 200
        else:
            assert reply.status == 403, (method, path)
            assert len(api.world.ledger.entries) == before
    assert {path for _, path in found} & OPEN_PATHS == {"/healthz", "/readyz", "/metrics"}
    assert len(api.refused) == len(found) - 3


@pytest.mark.parametrize(
    "signing",
    [{"secret": "wrong"}, {"region": "fr"}, {"key": "DSTANOBODY"}, {"presign": 60}, {"payload": "UNSIGNED-PAYLOAD"}],
    ids=lambda value: next(iter(value)),
)
def test_a_request_that_is_not_authentic(api: Api, signing: dict[str, Any]) -> None:
    before = api.world.picture()
    reply = api.ask("POST", "/v1/datasets", {"name": "payroll"}, **signing)
    assert reply.status in {400, 403}
    assert reply.headers["content-type"] == "application/problem+json"
    assert len(api.refused) == 1
    assert api.world.picture() == before


def test_a_body_that_was_changed_on_the_way(api: Api) -> None:
    request = signed(
        "POST", "/v1/datasets", body=b'{"name":"payroll"}', headers=[("content-type", "application/json")],
        service="demesne", key=api.world.steward.access_key_id, secret=SECRET, region="de",
    )  # fmt: skip
    scope = request.scope() | {"path": "/v1/datasets", "root_path": "", "http_version": "1.1"}
    reply = api.send(scope, b'{"name":"payrolls"}')
    assert reply.json["code"] == "XAmzContentSHA256Mismatch"
    assert api.world.catalog.datasets() == [api.world.dataset_row(), api.world.dataset_row("open-data")]


def test_a_misspelt_path_or_method_does_nothing(api: Api) -> None:
    assert api.ask("GET", "/v1/dataset").status == 404
    assert api.ask("DELETE", "/v1/datasets").status == 405
    assert api.ask("GET", "/v1/../healthz").status in {403, 404}


# --- problems


def test_a_refusal_is_a_problem_with_rule_decision_and_remedy(api: Api) -> None:
    reply = api.ask("POST", "/v1/datasets", {"name": "payroll"}, who=api.world.analyst)
    document = problem(reply, 403, "AccessDenied")
    assert document["rule"] == "access.none"
    assert api.world.intent(document["decision_id"])["action"] == "create-dataset"
    assert document["remedy"]


def test_a_503_says_when_to_come_back(api: Api) -> None:
    api.world.ledger.fault = ledger_down
    reply = api.ask("GET", "/v1/datasets")
    assert problem(reply, 503, "ServiceUnavailable")["rule"] == "ledger.unavailable"
    assert reply.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "/v1/datasets", {"name": "x"}, "name"),
        ("POST", "/v1/datasets", {"name": "payroll", "lable": "none"}, "lable"),
        ("POST", "/v1/datasets", {"name": "payroll", "label": "open"}, "label"),
        ("POST", "/v1/datasets", {"name": "UPPER"}, "dataset.name"),
        ("POST", "/v1/datasets", [], "body"),
        ("PUT", "/v1/datasets/claims/contract", {"document": 3}, "document"),
        ("POST", "/v1/challenges", {"purpose": "p q", "scope": []}, "purpose"),
        ("POST", "/v1/sessions", {"nonce": "zz"}, "nonce"),
        ("GET", "/v1/views", None, "query.dataset"),
        ("POST", "/v1/declassifications", {"dataset": "claims"}, "key"),
    ],
)
def test_what_is_wrong_with_a_request_is_named(api: Api, method: str, path: str, body: Any, field: str) -> None:
    before = api.world.picture()
    document = problem(api.ask(method, path, body), 400, "InvalidArgument")
    assert document["detail"].startswith(f"{field}: "), document
    assert api.world.picture() == before


@pytest.mark.parametrize("raw", [b"{", b"\xff", b'{"name": NaN}', b"null", b'"x"'])
def test_a_body_that_is_no_document(api: Api, raw: bytes) -> None:
    assert api.ask("POST", "/v1/datasets", raw=raw).status == 400


def test_nothing_internal_is_told_by_a_wrong_body(api: Api) -> None:
    text = api.ask("POST", "/v1/sessions", {"nonce": "0" * 64, "kind": "sample", "evidence": 3}).body
    assert b"Traceback" not in text
    assert b"pydantic" not in text


# --- what it does


def test_datasets_contracts_and_views(api: Api) -> None:
    made = api.ask("POST", "/v1/datasets", {"name": "payroll", "synthetic": True})
    assert (made.status, made.json["label"], made.json["zone"]) == (201, "personal", "de")
    put = api.ask("PUT", "/v1/datasets/payroll/contract", {"document": contract_for("payroll")})
    assert (put.status, put.json["contract_version"]) == (200, 1)
    assert [row["name"] for row in api.ask("GET", "/v1/datasets").json] == ["claims", "open-data", "payroll"]
    api.world.put("a.csv", CSV)
    shown = api.ask("GET", "/v1/datasets/claims", who=api.world.analyst).json
    assert (shown["contract"]["v"], len(shown["plans"]), len(shown["views"])) == (1, 1, 1)
    assert api.ask("GET", "/v1/views?dataset=claims").json == shown["views"]
    problem(api.ask("GET", "/v1/datasets/nowhere"), 404, "NoSuchBucket")


def test_a_pointer_is_named_in_listings_and_leads_to_its_zone(api: Api) -> None:
    made = api.ask("POST", "/v1/datasets", {"name": "far-away", "zone": "fr"})
    assert (made.status, made.json["zone"]) == (201, "fr")
    document = problem(api.ask("GET", "/v1/datasets/far-away"), 403, "AccessDenied")
    assert "https://s3.fr.example" in document["remedy"]
    assert problem(api.ask("POST", "/v1/datasets", {"name": "lost", "zone": "us"}), 400, "InvalidArgument")


def test_principals_and_declassifications(api: Api) -> None:
    person = {
        "name": "eve", "kind": "person", "roles": ["analyst"], "jurisdiction": "de", "purposes": ["analytics"],
        "purpose": "analytics",
    }  # fmt: skip
    made = api.ask("POST", "/v1/principals", person)
    assert (made.status, set(made.json)) == (201, {"principal_id", "access_key_id", "secret_access_key"})
    api.world.put("a.csv", CSV)
    asked = {"dataset": "claims", "key": "a.csv", "name": "release", "reason": "published"}
    assert api.ask("POST", "/v1/declassifications", asked).status == 201
    problem(api.ask("POST", "/v1/declassifications", asked, who=api.world.analyst), 403, "AccessDenied")


def test_challenges_over_the_api(api: Api) -> None:
    asked = {"purpose": "claims-risk-model", "scope": ["claims", "claims"]}
    made = api.ask("POST", "/v1/challenges", asked, who=api.world.trainer)
    assert (made.status, made.json["scope"], len(made.json["nonce"])) == (201, ["claims"], 64)
    problem(api.ask("POST", "/v1/challenges", asked, who=api.world.analyst), 403, "AccessDenied")
    problem(api.ask("POST", "/v1/challenges", {**asked, "scope": []}, who=api.world.trainer), 400, "InvalidArgument")
    none = problem(api.ask("DELETE", f"/v1/sessions/{'f' * 32}", who=api.world.trainer), 404, "NoSuchSession")
    shown = problem(api.ask("GET", f"/v1/sessions/{'f' * 32}", who=api.world.trainer), 404, "NoSuchSession")
    assert none["remedy"]
    assert "session list" in shown["remedy"]


def test_zones_and_doctrine(api: Api) -> None:
    de, fr = api.ask("GET", "/v1/zones", who=api.world.analyst).json
    assert (de["name"], de["state"], de["strength"]) == ("de", "open", "self-reported")
    assert "state" not in fr
    assert api.ask("GET", "/v1/doctrine").json["revision"] == api.world.doctrine.revision


def test_operation_needs_no_signature(api: Api) -> None:
    def get(path: str) -> Reply:
        return api.send({
            "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"",
            "headers": [], "scheme": "http", "client": ("10.0.0.1", 1), "root_path": "", "http_version": "1.1",
        })  # fmt: skip

    assert get("/healthz").json == {"status": "alive"}
    ready = get("/readyz")
    assert (ready.status, ready.json["ready"]) == (200, True)
    assert b"demesne_decisions_total" in get("/metrics").body
    api.workers = {"ledger": "no answer", "broker": "ok"}
    gone = get("/readyz")
    assert (gone.status, gone.json["ledger"]) == (503, {"state": "no answer"})


# --- ledger and lineage


def test_ledger_and_receipts(api: Api) -> None:
    world = api.world
    world.build(world.put("a.csv", CSV))
    answer = world.read(world.analyst, "a.csv")
    decision = answer.facts["decision_id"]
    api.publish()
    assert b"\n" in api.ask("GET", "/v1/ledger/checkpoint", who=world.analyst).body
    receipt = api.ask("GET", f"/v1/receipts/{decision}", who=world.analyst)
    assert receipt.status == 200
    newest = api.ask("GET", "/v1/decisions?limit=5").json
    assert len(newest) == 5
    published = LedgerReader(world.directory / "ledger").entries(0, 10**6)
    assert [entry["id"] for entry in newest] == [entry["id"] for entry in published[:-6:-1]]
    problem(api.ask("GET", f"/v1/receipts/{'0' * 32}"), 404, "NoSuchDecision")
    problem(api.ask("GET", "/v1/ledger/tile/9/999"), 404, "NoSuchTile")
    assert api.ask("GET", "/v1/ledger/key").json["public_key"] == world.signer.public_key.hex()


def test_others_see_their_own_entries_only(api: Api) -> None:
    world = api.world
    world.build(world.put("a.csv", CSV))
    own = world.read(world.analyst, "a.csv").facts["decision_id"]
    foreign = world.read(world.attested(), "a.csv").facts["decision_id"]
    api.publish()
    shown = api.ask("GET", "/v1/decisions?limit=1000", who=world.analyst).json
    hashed = world.guard.recorder.principal(world.analyst.principal_id)
    mine = {entry["id"] for entry in shown if entry.get("principal") == hashed}
    assert own in mine
    assert all(entry["id"] in mine or entry["intent"] in mine for entry in shown)
    assert api.ask("GET", f"/v1/receipts/{own}", who=world.analyst).status == 200
    # An entry of another, and no entry at all, answer alike.
    told = {api.ask("GET", f"/v1/receipts/{name}", who=world.analyst).json["detail"] for name in (foreign, "0" * 32)}
    assert len(told) == 1


@pytest.mark.parametrize("path", ["entries/000", "/entries/000", "./entries/000", "x/../entries/000", "%65ntries/000"])
def test_no_spelling_of_an_entry_bundle_is_for_those_who_do_not_audit(api: Api, path: str) -> None:
    world = api.world
    for _ in range(300):
        world.run(world.guard.admit(world.steward, "list-datasets", request_id="r"))
    api.publish()
    assert api.ask("GET", "/v1/ledger/tile/entries/000").status == 200
    reply = api.ask("GET", f"/v1/ledger/tile/{path}", who=world.analyst)
    assert reply.status in {403, 404}
    assert api.ask("GET", "/v1/ledger/tile/0/000", who=world.analyst).status == 200


def test_lineage(api: Api) -> None:
    world = api.world
    world.put("a.csv", CSV)
    world.read(world.attested(run="train"), "a.csv")
    api.publish()
    found = api.ask("GET", "/v1/lineage?dataset=claims", who=world.trainer).json
    assert found["tree"]
    problem(api.ask("GET", "/v1/lineage?dataset=nowhere"), 404, "NoSuchLineage")
    problem(api.ask("GET", "/v1/lineage"), 400, "InvalidArgument")
    problem(api.ask("GET", "/v1/lineage?dataset=a&run=b"), 400, "InvalidArgument")
    problem(api.ask("GET", "/v1/lineage?dataset=claims", who=world.analyst), 403, "AccessDenied")
    assert isinstance(api.ask("GET", "/v1/lineage/events?limit=1").json, list)


@pytest.mark.parametrize("path", ["/v1/lineage/events?limit=-1", "/v1/decisions?limit=-1", "/v1/decisions?limit=0"])
def test_a_limit_is_a_count(api: Api, path: str) -> None:
    api.publish()
    problem(api.ask("GET", path), 400, "InvalidArgument")


@pytest.mark.parametrize("path", ["/v1/ledger/checkpoint", "/v1/decisions", "/v1/lineage?dataset=claims",
                                  "/v1/lineage/events"])  # fmt: skip
def test_before_the_ledger_was_ever_written(api: Api, path: str) -> None:
    reply = api.ask("GET", path)
    assert reply.status in {404, 503}
    assert reply.headers["content-type"] == "application/problem+json"


def test_what_cannot_be_recorded_is_not_told_either(api: Api) -> None:
    api.publish()

    def only_intents(when: str, entry: Any) -> None:
        if when == "before":
            raise LedgerUnavailable("ledger.connect")

    api.world.ledger.fault = only_intents
    for path in ("/v1/decisions", "/v1/ledger/checkpoint", "/v1/lineage?dataset=claims", "/v1/datasets"):
        problem(api.ask("GET", path), 503, "ServiceUnavailable")


def test_two_requests_at_once_keep_their_callers(api: Api) -> None:
    """The principal travels in the request's own scope and nowhere else."""
    world = api.world

    async def both() -> list[int]:
        return await asyncio.gather(*(one(who) for who in (world.steward, world.analyst) * 5))

    async def one(who: Principal) -> int:
        request = signed("GET", "/v1/lineage?dataset=x", service="demesne", key=who.access_key_id, secret=SECRET,
                         region="de")  # fmt: skip
        scope = request.scope() | {"path": "/v1/lineage", "root_path": "", "http_version": "1.1"}
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await api.front(scope, receive, send)
        return int(sent[0]["status"])

    api.publish()
    assert world.run(both()) == [404, 403] * 5
    assert {e["principal"] for e in world.entries("intent")[-10:]} == {
        world.guard.recorder.principal(who.principal_id) for who in (world.steward, world.analyst)
    }


def test_a_scope_that_comes_with_a_principal_is_not_believed(api: Api) -> None:
    request = signed("GET", "/v1/datasets", service="demesne", key="DSTANOBODY", secret=SECRET, region="de")
    forged = replace(api.world.steward)
    scope = request.scope() | {"path": "/v1/datasets", "root_path": "", "http_version": "1.1", "principal": forged}
    assert api.send(scope).status == 403
