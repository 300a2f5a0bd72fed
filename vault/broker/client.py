"""The broker as other processes call it: synchronous, thread safe, a few pooled connections.

A request is sent again only when the connection proved dead before the answer's first byte and the method
does the same thing twice harmlessly; an attestation, which consumes its nonce, is never sent twice.
"""

import socket
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self

from vault.broker import kbs_wire, tpm_wire, wire
from vault.broker.kbs_types import KbsAttested, KbsEvidence
from vault.broker.protocol import Closed, answer_value, encode_bytes, receive_message, send_message
from vault.broker.types import (
    Attested,
    Challenge,
    GeneratedKey,
    Grant,
    Hello,
    KeyOrderState,
    ManifestKeys,
    Promised,
    TpmChallenge,
    TpmKeyState,
)
from vault.envelope.wrap import WrappedKey
from vault.errors import Unavailable
from vault.keys.hierarchy import KeyScope
from vault.keys.provider import ProviderLocation
from vault.keys.secrets import SecretBytes

ANSWER_SECONDS = 2.0  # above the broker's own 250 ms for its provider: it, not we, should say what is wrong
_IDLE_CONNECTIONS = 8
_ONCE = frozenset({"attest", "kbs_attest", "key_approve", "tpm_finish"})


class BrokerClient:
    """Calls one broker socket. Every method raises what the broker raised, or `Unavailable("broker.…")`."""

    def __init__(self, path: Path, *, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._path = path
        self._seconds = answer_seconds
        self._idle: deque[socket.socket] = deque()
        self._lock = Lock()
        self._closed = False

    def hello(self) -> Hello:
        return wire.hello_in(self._call("hello", {}))

    def generate(self, scope: KeyScope, subject: str, upload_id: str | None = None) -> GeneratedKey:
        arguments = {"scope": wire.scope_out(scope), "subject": subject, "upload_id": upload_id}
        return wire.generated_in(self._call("generate", arguments))

    def unwrap(self, scope: KeyScope, subject: str, wrapped: WrappedKey, grant: Grant) -> SecretBytes:
        arguments = {
            "scope": wire.scope_out(scope),
            "subject": subject,
            "wrapped": wire.wrapped_out(wrapped),
            "grant": wire.grant_out(grant),
        }
        return wire.key_in(self._call("unwrap", arguments))

    def manifest_keys(
        self, scope: KeyScope, subject: str, wrapped: WrappedKey, grant: Grant, manifests: Sequence[tuple[str, int]],
        copy_to: str | None = None,
    ) -> ManifestKeys:  # fmt: skip
        arguments = {
            "scope": wire.scope_out(scope),
            "subject": subject,
            "wrapped": wire.wrapped_out(wrapped),
            "grant": wire.grant_out(grant),
            "manifests": wire.manifests_out(manifests),
            "copy_to": copy_to,
        }
        return wire.manifest_keys_in(self._call("manifest_keys", arguments))

    def unwrap_upload(self, scope: KeyScope, subject: str, upload_id: str, upload_wrapped: bytes) -> SecretBytes:
        arguments = {
            "scope": wire.scope_out(scope),
            "subject": subject,
            "upload_id": upload_id,
            "upload_wrapped": encode_bytes(upload_wrapped),
        }
        return wire.key_in(self._call("unwrap_upload", arguments))

    def builder_unwrap(
        self, scope: KeyScope, subject: str, wrapped: WrappedKey, job_id: str, fence: int
    ) -> SecretBytes:
        arguments = {
            "scope": wire.scope_out(scope),
            "subject": subject,
            "wrapped": wire.wrapped_out(wrapped),
            "job_id": job_id,
            "fence": fence,
        }
        return wire.key_in(self._call("builder_unwrap", arguments))

    def pseudonym_key(self, tenant: str, purpose_class: str, job_id: str, fence: int) -> SecretBytes:
        arguments = {"tenant": tenant, "purpose_class": purpose_class, "job_id": job_id, "fence": fence}
        return wire.key_in(self._call("pseudonym_key", arguments))

    def challenge(self, principal_id: str, purpose: str, scope: list[str], gateway: str) -> Challenge:
        arguments = {"principal_id": principal_id, "purpose": purpose, "scope": list(scope), "gateway": gateway}
        return wire.challenge_in(self._call("challenge", arguments))

    def attest(
        self,
        nonce: str,
        kind: str,
        evidence: dict[str, Any],
        public_jwk: dict[str, Any],
        principal_id: str,
        session_id: str | None = None,
        additional: Sequence[Mapping[str, Any]] = (),
        *,
        source: str = "",
        bind_key: bool = False,
    ) -> Attested:
        arguments = {
            "nonce": nonce,
            "kind": kind,
            "evidence": evidence,
            "public_jwk": public_jwk,
            "principal_id": principal_id,
            "session_id": session_id,
            "additional": [dict(entry) for entry in additional],
            "source": source,
            "bind_key": bind_key,
        }
        return wire.attested_in(self._call("attest", arguments))

    def kbs_challenge(self, principal_id: str, purpose: str, scope: list[str], gateway: str) -> Challenge:
        arguments = {"principal_id": principal_id, "purpose": purpose, "scope": list(scope), "gateway": gateway}
        return wire.challenge_in(self._call("kbs_challenge", arguments))

    def kbs_attest(self, evidence: KbsEvidence, principal_id: str, source: str) -> KbsAttested:
        arguments = {"evidence": kbs_wire.evidence_out(evidence), "principal_id": principal_id, "source": source}
        return kbs_wire.attested_in(self._call("kbs_attest", arguments))

    def kbs_token(self, statement: bytes, seal: bytes, appraisal: dict[str, Any], token_id: str) -> str:
        arguments = {
            "statement": encode_bytes(statement), "seal": encode_bytes(seal), "appraisal": appraisal,
            "token_id": token_id,
        }  # fmt: skip
        return kbs_wire.token_in(self._call("kbs_token", arguments))

    def kbs_key(self) -> dict[str, str]:
        return kbs_wire.jwk_in(self._call("kbs_key", {}))

    def end_upload(self, scope: KeyScope, subject: str, upload_id: str) -> None:
        arguments = {"scope": wire.scope_out(scope), "subject": subject, "upload_id": upload_id}
        self._call("end_upload", arguments)

    def tpm_begin(self, principal_id: str, request: dict[str, Any]) -> TpmChallenge:
        return tpm_wire.challenge_in(self._call("tpm_begin", {"principal_id": principal_id, "request": request}))

    def tpm_finish(self, enrolment_id: str, principal_id: str, secret: bytes) -> TpmKeyState:
        arguments = {"enrolment_id": enrolment_id, "principal_id": principal_id, "secret": encode_bytes(secret)}
        return tpm_wire.state_in(self._call("tpm_finish", arguments))

    def tpm_approve(self, key_name: str, policy: dict[str, Any], decision: Promised, entry: Promised) -> TpmKeyState:
        arguments = {
            "key_name": key_name, "policy": policy, "decision": wire.promised_out(decision),
            "entry": wire.promised_out(entry),
        }  # fmt: skip
        return tpm_wire.state_in(self._call("tpm_approve", arguments))

    def tpm_retire(self, key_name: str, decision: Promised, entry: Promised) -> TpmKeyState:
        arguments = {
            "key_name": key_name, "decision": wire.promised_out(decision), "entry": wire.promised_out(entry)
        }  # fmt: skip
        return tpm_wire.state_in(self._call("tpm_retire", arguments))

    def revoke_session(self, session_id: str) -> None:
        self._call("revoke_session", {"session_id": session_id})

    def revoke(self, what: str, value: str) -> None:
        self._call("revoke", {"what": what, "value": value})

    def key_order(self, order: dict[str, Any], decision: Promised, entry: Promised) -> KeyOrderState:
        arguments = {"order": order, "decision": wire.promised_out(decision), "entry": wire.promised_out(entry)}
        return wire.order_state_in(self._call("key_order", arguments))

    def key_approve(self, request_id: str, request_sha256: str, decision: Promised, entry: Promised) -> KeyOrderState:
        return self._about("key_approve", request_id, request_sha256, decision, entry)

    def key_cancel(self, request_id: str, request_sha256: str, decision: Promised, entry: Promised) -> KeyOrderState:
        return self._about("key_cancel", request_id, request_sha256, decision, entry)

    def key_step(self, request_id: str, *, recorded: bool = False) -> KeyOrderState:
        return wire.order_state_in(self._call("key_step", {"request_id": request_id, "recorded": recorded}))

    def key_location(self, key_class: str) -> ProviderLocation:
        """Where the provider of this class says it is; raises what the provider raised."""
        return wire.location_in(self._call("key_location", {"key_class": key_class}))

    def _about(
        self, method: str, request_id: str, request_sha256: str, decision: Promised, entry: Promised
    ) -> KeyOrderState:
        arguments = {
            "request_id": request_id,
            "request_sha256": request_sha256,
            "decision": wire.promised_out(decision),
            "entry": wire.promised_out(entry),
        }
        return wire.order_state_in(self._call(method, arguments))

    def close(self) -> None:
        """Close pooled connections; calls after this are `Unavailable`."""
        with self._lock:
            self._closed = True
            connections, self._idle = list(self._idle), deque()
        for connection in connections:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, method: str, arguments: dict[str, Any]) -> Any:
        request = {"v": 1, "method": method, "arguments": arguments}
        pooled = self._take()
        if pooled is not None and method in _ONCE:
            pooled.close()  # it may be dead without our knowing, and there is only one try
        elif pooled is not None:
            with suppress(Closed, BrokenPipeError, ConnectionResetError):  # a restarted broker closed it
                return answer_value(self._exchange(pooled, request))
        return answer_value(self._on_new_connection(request))

    def _on_new_connection(self, request: dict[str, Any]) -> dict[str, Any]:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(self._seconds)
        try:
            connection.connect(str(self._path))
            return self._exchange(connection, request)
        except (Closed, OSError) as error:
            connection.close()
            raise Unavailable("broker.connection", str(error)) from error

    def _exchange(self, connection: socket.socket, request: dict[str, Any]) -> dict[str, Any]:
        try:
            send_message(connection, request)
            answer = receive_message(connection)
        except BaseException as error:
            connection.close()  # a late answer must never be taken for the answer to the next request
            if isinstance(error, TimeoutError):
                raise Unavailable("broker.timeout", f"no answer in {self._seconds} s") from error
            raise
        self._give_back(connection)
        return answer

    def _take(self) -> socket.socket | None:
        with self._lock:
            if self._closed:
                raise Unavailable("broker.closed", "this client was closed")
            return self._idle.pop() if self._idle else None

    def _give_back(self, connection: socket.socket) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < _IDLE_CONNECTIONS:
                self._idle.append(connection)
                return
        connection.close()
