"""The API as pure functions: a Call goes out, status, headers and body come back as values or a typed error.

No socket, clock or file here; `_connection.py` does the sending. Answers are read strictly where a
mistake would matter (sessions, challenges) and passed through as documents elsewhere.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from demesne.credentials import Credentials, parse_time
from demesne.errors import DemesneError, Invalid, Malformed, typed_error

Document = dict[str, Any]
_NONCE = re.compile(r"[0-9a-f]{64}")
_SEGMENT = re.compile(r"[A-Za-z0-9._~-]+")


@dataclass(frozen=True, slots=True)
class Call:
    """One request to the API: method, path of unreserved characters, query pairs, JSON body bytes."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Challenge:
    """What the evidence must commit to: 32 random bytes (hex) and the gateway's own name."""

    nonce: str
    gateway: str
    expires_at: str


@dataclass(frozen=True, slots=True)
class Opened:
    """A session the gateway opened. `sealed` is a compact JWE to the attested key."""

    session_id: str
    run_id: str
    purpose: str
    fresh_seconds: int  # an attestation older than this opens nothing raw
    notice: str | None
    sealed: str = field(repr=False)
    client_certificate: str | None = None  # PEM, where the session is bound to the key and not to the address


@dataclass(frozen=True, slots=True)
class Proof:
    """Evidence in answer to a challenge: the machine's own, what its devices said, and the public key (JWK)."""

    nonce: str
    evidence: Document
    key: Document
    additional: tuple[Document, ...] = ()

    def body(self) -> Document:
        """The part that opening a session and re-attesting have in common."""
        sent: Document = {
            "nonce": self.nonce, "kind": self.evidence["kind"], "evidence": self.evidence, "key": self.key,
        }  # fmt: skip
        return sent | ({"additional": list(self.additional)} if self.additional else {})


def call(method: str, path: str, *, query: Mapping[str, str] | None = None, document: object = None) -> Call:
    """A Call with canonical query order; `document` becomes UTF-8 JSON."""
    body = b"" if document is None else json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    return Call(method, path, tuple(sorted((query or {}).items())), body)


def challenge_call(purpose: str, scope: Sequence[str]) -> Call:
    """POST /v1/challenges."""
    return call("POST", "/v1/challenges", document={"purpose": purpose, "scope": sorted(scope)})


def open_call(proof: "Proof", *, purpose: str, scope: Sequence[str], run: str | None, bind: str | None = None) -> Call:
    """POST /v1/sessions. `bind`: "certificate" asks for a client certificate; None leaves it to the gateway."""
    body = proof.body() | {"purpose": purpose, "scope": sorted(scope)}
    body |= {name: value for name, value in (("run", run), ("bind", bind)) if value is not None}
    return call("POST", "/v1/sessions", document=body)


def reattest_call(session_id: str, proof: "Proof") -> Call:
    """POST /v1/sessions/{id}/attest."""
    return call("POST", f"/v1/sessions/{segment(session_id, 'session')}/attest", document=proof.body())


def end_call(session_id: str) -> Call:
    return call("DELETE", f"/v1/sessions/{segment(session_id, 'session')}")


def statement_call(run_id: str, statement: Document) -> Call:
    """POST /v1/runs/{id}/statements: what the job says of its run."""
    return call("POST", f"/v1/runs/{segment(run_id, 'run')}/statements", document=statement)


def segment(text: str, what: str) -> str:
    """`text` as one path segment. Raises Invalid: an id with a slash would name another resource."""
    if not _SEGMENT.fullmatch(text) or text in {".", ".."}:
        raise Invalid("name", f"{what} {text!r} may hold only letters, digits, '.', '_', '~' and '-'")
    return text


def read_answer(status: int, headers: Mapping[str, str], body: bytes) -> Any:
    """The JSON of a 2xx answer (None when empty). Raises the error that a problem document stands for."""
    if not 200 <= status < 300:
        raise error_of(status, headers, body)
    if not body:
        return None
    try:
        return json.loads(body)
    except ValueError as error:
        raise Malformed("answer.json", "the gateway's answer is not JSON; is this the API endpoint?") from error


def error_of(status: int, headers: Mapping[str, str], body: bytes) -> DemesneError:
    """RFC 9457 problem -> typed error. An answer that is no problem document still gets its status's type."""
    try:
        problem = json.loads(body)
    except ValueError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    code = str(problem.get("code") or f"http.{status}")
    message = str(problem.get("detail") or problem.get("title") or f"the gateway answered {status}")
    return typed_error(
        status,
        code,
        message,
        rule=_text(problem.get("rule")),
        decision_id=_text(problem.get("decision_id")) or headers.get("x-demesne-decision"),
        remedy=_text(problem.get("remedy")),
        retry_after=_seconds(headers.get("retry-after")),
    )


def read_challenge(answer: object) -> Challenge:
    """Raises Malformed: evidence over a nonce of another shape would be refused only later, and darkly."""
    fields = _fields(answer, "challenge", nonce=str, gateway=str)
    if not _NONCE.fullmatch(fields["nonce"]):
        raise Malformed("challenge.nonce", "a nonce is 32 bytes in hex")
    return Challenge(fields["nonce"], fields["gateway"], str(fields.get("expires_at", "")))


def read_opened(answer: object) -> Opened:
    """POST /v1/sessions' answer. Raises Malformed."""
    fields = _fields(answer, "session", session_id=str, run_id=str, purpose=str, fresh_seconds=int, credentials=str)
    return Opened(
        fields["session_id"],
        fields["run_id"],
        fields["purpose"],
        _positive(fields["fresh_seconds"]),
        _text(fields.get("notice")),
        fields["credentials"],
        _text(fields.get("certificate")),
    )


def read_refreshed(answer: object) -> int:
    """POST /v1/sessions/{id}/attest's answer -> fresh_seconds. Raises Malformed."""
    return _positive(_fields(answer, "re-attestation", fresh_seconds=int)["fresh_seconds"])


def read_credentials(plaintext: bytes) -> Credentials:
    """The JSON inside the JWE. Raises Malformed without quoting it: it holds a secret."""
    try:
        document = json.loads(plaintext)
    except ValueError:
        raise Malformed("credentials.json", "the sealed credentials are not JSON") from None
    names = {"access_key_id": str, "secret_access_key": str, "session_token": str, "expiration": str}
    fields = _fields(document, "credentials", **names)
    end: datetime = parse_time(fields["expiration"])
    return Credentials(fields["access_key_id"], fields["secret_access_key"], fields["session_token"], end)


def entries(answer: object, name: str) -> list[Document]:
    """A list, bare or under its name. Raises Malformed."""
    found = answer.get(name) if isinstance(answer, dict) else answer
    if not isinstance(found, list):
        raise Malformed("answer.shape", f"expected a list of {name}")
    return found


def _fields(answer: object, what: str, **types: type) -> Document:
    if not isinstance(answer, dict):
        raise Malformed(f"{what}.malformed", f"the {what} answer is not an object")
    for name, kind in types.items():
        if not isinstance(answer.get(name), kind):
            raise Malformed(f"{what}.malformed", f"the {what} answer lacks {name!r}")
    return answer


def _positive(seconds: int) -> int:
    if isinstance(seconds, bool) or seconds <= 0:
        raise Malformed("session.freshness", "fresh_seconds must be positive")
    return seconds


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _seconds(value: str | None) -> float | None:
    try:
        return max(0.0, float(value)) if value is not None else None
    except ValueError:
        return None
