"""The gateway's API for people and pipelines: zones, datasets, contracts, principals, lineage, receipts."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from demesne import _wire
from demesne._connection import Connection, now_utc
from demesne._wire import Call, Challenge, Document, Opened, Proof, segment
from demesne.credentials import Credentials
from demesne.errors import Malformed
from demesne.settings import Settings


class Client:
    """One zone's API as one principal. Methods raise `demesne.errors`; nothing is retried but reads."""

    def __init__(
        self,
        endpoint: str,
        credentials: Credentials | Callable[[], Credentials],
        *,
        region: str,
        ca: Path | None = None,
        clock: Callable[[], datetime] = now_utc,
    ) -> None:
        source = credentials if callable(credentials) else lambda: credentials
        self._connection = Connection(endpoint, source, region=region, service="demesne", ca=ca, clock=clock)

    @classmethod
    def from_settings(cls, settings: Settings, *, zone: str | None = None, role: str = "steward") -> Self:
        """A client of `zone` (default: the first) as `role` of the ready file."""
        chosen = settings.zone(zone)
        return cls(
            chosen.api_endpoint,
            settings.caller(role),
            region=chosen.signing_region(),
            ca=settings.ca,
        )

    @property
    def endpoint(self) -> str:
        return self._connection.endpoint

    def zones(self) -> list[Document]:
        """Every zone of the signed directory: name, jurisdiction, endpoints."""
        return _wire.entries(self._ask(_wire.call("GET", "/v1/zones")), "zones")

    def datasets(self) -> list[Document]:
        """The datasets this principal may know of."""
        return _wire.entries(self._ask(_wire.call("GET", "/v1/datasets")), "datasets")

    def dataset(self, name: str) -> Document:
        """Contract, label, plans and the progress of views. Raises NotFound."""
        return self._document(_wire.call("GET", f"/v1/datasets/{segment(name, 'dataset')}"))

    def create_dataset(
        self, name: str, *, zone: str | None = None, synthetic: bool = False, label: str = "personal"
    ) -> Document:
        """Make a dataset. Raises Conflict when the name is taken, Invalid for an unknown zone."""
        body: Document = {"name": name, "synthetic": synthetic, "label": label}
        if zone is not None:
            body["zone"] = zone
        return self._document(_wire.call("POST", "/v1/datasets", document=body))

    def put_contract(self, name: str, document: Document) -> Document:
        """Set the dataset's contract; the answer names its version."""
        path = f"/v1/datasets/{segment(name, 'dataset')}/contract"
        return self._document(_wire.call("PUT", path, document={"document": document}))

    def create_principal(
        self,
        name: str,
        *,
        kind: str,
        roles: Sequence[str],
        jurisdiction: str,
        purposes: Sequence[str],
        purpose: str | None,
    ) -> Document:
        """Register a principal (stewards); the answer holds its keys, once. `purpose` None: no static key, an identity
        provider of the zone vouches for it (the only way in production)."""
        body = {
            "name": name, "kind": kind, "roles": list(roles), "jurisdiction": jurisdiction,
            "purposes": list(purposes), "purpose": purpose,
        }  # fmt: skip
        return self._document(_wire.call("POST", "/v1/principals", document=body))

    def declassify(self, dataset: str, key: str, *, name: str, reason: str) -> Document:
        """A *named* declassification of one object; recorded with its reason."""
        body = {"dataset": dataset, "key": key, "name": name, "reason": reason}
        return self._document(_wire.call("POST", "/v1/declassifications", document=body))

    def views(self, dataset: str) -> list[Document]:
        """Views of the dataset's versions, with state and progress."""
        return _wire.entries(self._ask(_wire.call("GET", "/v1/views", query={"dataset": dataset})), "views")

    def lineage(self, *, dataset: str | None = None, run: str | None = None) -> Document:
        """The lineage graph around a dataset or a run: {"nodes": [...], "edges": [...]}."""
        query = {name: value for name, value in (("dataset", dataset), ("run", run)) if value is not None}
        return self._document(_wire.call("GET", "/v1/lineage", query=query))

    def lineage_events(self) -> list[Document]:
        """OpenLineage events, oldest first."""
        return _wire.entries(self._ask(_wire.call("GET", "/v1/lineage/events")), "events")

    def decisions(self, *, limit: int = 50) -> list[Document]:
        """Recent ledger entries, readable, newest first."""
        return _wire.entries(self._ask(_wire.call("GET", "/v1/decisions", query={"limit": str(limit)})), "decisions")

    def receipt(self, decision_id: str) -> str:
        """The tlog-proof text of a decision (available at most 2 s after it was made)."""
        response = self._send(_wire.call("GET", f"/v1/receipts/{segment(decision_id, 'decision')}"))
        return _text_body(response)

    def checkpoint(self) -> str:
        """The ledger's latest signed checkpoint."""
        return _text_body(self._send(_wire.call("GET", "/v1/ledger/checkpoint")))

    def doctrine(self) -> Document:
        """The doctrine in force: revision, state, and what was refused last."""
        return self._document(_wire.call("GET", "/v1/doctrine"))

    def explain(self, document: Document) -> Document:
        """What the doctrine says to a decision input, and why."""
        return self._document(_wire.call("POST", "/v1/doctrine/explain", document=document))

    def keys(self, dataset: str | None = None) -> list[Document]:
        """Epoch keys with their state and what hangs on each: {"epoch_id", "key_class", "state", "groups", …}."""
        query = {} if dataset is None else {"dataset": dataset}
        return _wire.entries(self._ask(_wire.call("GET", "/v1/keys", query=query)), "keys")

    def key_requests(self, dataset: str) -> list[Document]:
        """Orders about a dataset's keys, newest first."""
        return _wire.entries(self._ask(_wire.call("GET", "/v1/keys/requests", query={"dataset": dataset})), "requests")

    def key_request(self, request_id: str) -> Document:
        """One order, how far it is, and the certificate of an erasure."""
        return self._document(_wire.call("GET", f"/v1/keys/requests/{segment(request_id, 'order')}"))

    def order_keys(self, dataset: str, action: str, *, reason: str, **what: object) -> Document:
        """Give an order (rotate, rewrap, disable, enable, destroy, shred); the last two then want `approve_keys`."""
        body = {"dataset": dataset, "action": action, "reason": reason, **what}
        return self._document(_wire.call("POST", "/v1/keys/requests", document=body))

    def approve_keys(self, request_id: str, request_sha256: str) -> Document:
        """As a second person, of exactly the order with this hash. Raises Refused, Conflict."""
        return self._about_keys(request_id, "approval", request_sha256)

    def cancel_keys(self, request_id: str, request_sha256: str) -> Document:
        """Take an order back. Raises Conflict when it is too late."""
        return self._about_keys(request_id, "cancellation", request_sha256)

    def _about_keys(self, request_id: str, what: str, request_sha256: str) -> Document:
        path = f"/v1/keys/requests/{segment(request_id, 'order')}/{what}"
        return self._document(_wire.call("POST", path, document={"request_sha256": request_sha256}))

    def challenge(self, purpose: str, scope: Sequence[str]) -> Challenge:
        """A nonce bound to this principal, purpose and scope; single use, at most 120 s."""
        return _wire.read_challenge(self._ask(_wire.challenge_call(purpose, scope)))

    def open_session(
        self,
        challenge: Challenge,
        *,
        evidence: Document,
        key: Document,
        purpose: str,
        scope: Sequence[str],
        run: str | None,
        additional: Sequence[Document] = (),
    ) -> Opened:
        """Present evidence for a challenge; the credentials come sealed to `key`."""
        proof = Proof(challenge.nonce, evidence, key, tuple(additional))
        return _wire.read_opened(self._ask(_wire.open_call(proof, purpose=purpose, scope=scope, run=run)))

    def reattest(
        self,
        session_id: str,
        challenge: Challenge,
        *,
        evidence: Document,
        key: Document,
        additional: Sequence[Document] = (),
    ) -> int:
        """Fresh evidence for a session, same key; returns fresh_seconds."""
        proof = Proof(challenge.nonce, evidence, key, tuple(additional))
        return _wire.read_refreshed(self._ask(_wire.reattest_call(session_id, proof)))

    def end_session(self, session_id: str) -> None:
        """Revoke a session now."""
        self._ask(_wire.end_call(session_id))

    def state(self, run_id: str, statement: Document) -> Document:
        """Say of a run of yours what the gateway cannot see: names, outputs, parents, model digests."""
        return self._document(_wire.statement_call(run_id, statement))

    def request(
        self, method: str, path: str, *, document: object = None, query: Mapping[str, str] | None = None
    ) -> Any:
        """Any other call of the API (`docs/api`), signed; for what has no method here yet."""
        return self._ask(_wire.call(method, path, document=document, query=query))

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _document(self, call: Call) -> Document:
        answer = self._ask(call)
        if not isinstance(answer, dict):
            raise Malformed("answer.shape", f"{call.method} {call.path} did not answer an object")
        return answer

    def _ask(self, call: Call) -> Any:
        status, headers, body = self._send(call)
        return _wire.read_answer(status, headers, body)

    def _send(self, call: Call) -> tuple[int, dict[str, str], bytes]:
        headers = {"content-type": "application/json"} if call.body else {}
        digest = hashlib.sha256(call.body).hexdigest()
        response = self._connection.send(
            call.method, call.path, query=call.query, headers=headers, content=call.body, payload_sha256=digest
        )
        return response.status_code, dict(response.headers), response.content


def _text_body(response: tuple[int, dict[str, str], bytes]) -> str:
    status, headers, body = response
    if status != 200:
        raise _wire.error_of(status, headers, body)
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed("answer.text", "expected text") from error
