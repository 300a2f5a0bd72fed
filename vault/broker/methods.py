"""Which methods stand on which socket, and how a request's arguments become a call.

Sockets of their own, so that the operating system can tell front workers and builders apart (file permissions, or
separate mounts in containers): what a builder may open with a leased job, a front worker must not be able to. A third
is the jobs process's: orders about keys are given by front workers and carried out by nobody who serves clients.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Any

from vault.broker import kbs_wire, tpm_wire, wire
from vault.broker.protocol import decode_bytes, encode_bytes
from vault.broker.types import KeyBroker, Promised
from vault.errors import Refused

Arguments = dict[str, Any]
Method = Callable[[KeyBroker, Arguments], Any]


class Role(StrEnum):
    """Whose socket it is."""

    FRONT = "front"
    BUILDER = "builder"
    KEEPER = "keeper"


def call(broker: KeyBroker, role: Role, method: str, arguments: Arguments) -> Any:
    """The answer as JSON. `Refused("broker.method")` for a method that is unknown or not of this socket."""
    handler = _METHODS.get(method)
    if handler is None or method not in _ALLOWED[role]:
        raise Refused("broker.method", f"not offered to {role}")
    return handler(broker, arguments)


def _hello(broker: KeyBroker, given: Arguments) -> Any:
    wire.fields(given)
    return wire.hello_out(broker.hello())


def _generate(broker: KeyBroker, given: Arguments) -> Any:
    scope, subject, upload_id = wire.fields(given, "scope", "subject", "upload_id")
    generated = broker.generate(wire.scope_in(scope), wire.text(subject), wire.text_or_none(upload_id))
    return wire.generated_out(generated)


def _unwrap(broker: KeyBroker, given: Arguments) -> Any:
    scope, subject, wrapped, grant = wire.fields(given, "scope", "subject", "wrapped", "grant")
    key = broker.unwrap(wire.scope_in(scope), wire.text(subject), wire.wrapped_in(wrapped), wire.grant_in(grant))
    return encode_bytes(key)


def _manifest_keys(broker: KeyBroker, given: Arguments) -> Any:
    scope, subject, wrapped, grant, manifests, copy_to = wire.fields(
        given, "scope", "subject", "wrapped", "grant", "manifests", "copy_to"
    )
    released = broker.manifest_keys(
        wire.scope_in(scope), wire.text(subject), wire.wrapped_in(wrapped), wire.grant_in(grant),
        wire.manifests_in(manifests), wire.text_or_none(copy_to),
    )  # fmt: skip
    return wire.manifest_keys_out(released)


def _unwrap_upload(broker: KeyBroker, given: Arguments) -> Any:
    scope, subject, upload_id, wrapped = wire.fields(given, "scope", "subject", "upload_id", "upload_wrapped")
    key = broker.unwrap_upload(wire.scope_in(scope), wire.text(subject), wire.text(upload_id), decode_bytes(wrapped))
    return encode_bytes(key)


def _end_upload(broker: KeyBroker, given: Arguments) -> Any:
    scope, subject, upload_id = wire.fields(given, "scope", "subject", "upload_id")
    broker.end_upload(wire.scope_in(scope), wire.text(subject), wire.text(upload_id))
    return None


def _builder_unwrap(broker: KeyBroker, given: Arguments) -> Any:
    scope, subject, wrapped, job_id, fence = wire.fields(given, "scope", "subject", "wrapped", "job_id", "fence")
    key = broker.builder_unwrap(
        wire.scope_in(scope), wire.text(subject), wire.wrapped_in(wrapped), wire.text(job_id), wire.integer(fence)
    )
    return encode_bytes(key)


def _pseudonym_key(broker: KeyBroker, given: Arguments) -> Any:
    tenant, purpose_class, job_id, fence = wire.fields(given, "tenant", "purpose_class", "job_id", "fence")
    key = broker.pseudonym_key(wire.text(tenant), wire.text(purpose_class), wire.text(job_id), wire.integer(fence))
    return encode_bytes(key)


def _challenge(broker: KeyBroker, given: Arguments) -> Any:
    principal_id, purpose, scope, gateway = wire.fields(given, "principal_id", "purpose", "scope", "gateway")
    challenge = broker.challenge(wire.text(principal_id), wire.text(purpose), wire.texts(scope), wire.text(gateway))
    return wire.challenge_out(challenge)


def _attest(broker: KeyBroker, given: Arguments) -> Any:
    nonce, kind, evidence, public_jwk, principal_id, session_id, additional, source, bind_key = wire.fields(
        given, "nonce", "kind", "evidence", "public_jwk", "principal_id", "session_id", "additional", "source",
        "bind_key",
    )  # fmt: skip
    attested = broker.attest(
        wire.text(nonce),
        wire.text(kind),
        wire.mapping(evidence),
        wire.mapping(public_jwk),
        wire.text(principal_id),
        wire.text_or_none(session_id),
        wire.mappings(additional),
        source=wire.text(source),
        bind_key=bind_key is True,
    )
    return wire.attested_out(attested)


def _kbs_challenge(broker: Any, given: Arguments) -> Any:
    principal_id, purpose, scope, gateway = wire.fields(given, "principal_id", "purpose", "scope", "gateway")
    made = broker.kbs_challenge(wire.text(principal_id), wire.text(purpose), wire.texts(scope), wire.text(gateway))
    return wire.challenge_out(made)


def _kbs_attest(broker: Any, given: Arguments) -> Any:
    evidence, principal_id, source = wire.fields(given, "evidence", "principal_id", "source")
    made = broker.kbs_attest(kbs_wire.evidence_in(evidence), wire.text(principal_id), wire.text(source))
    return kbs_wire.attested_out(made)


def _kbs_token(broker: Any, given: Arguments) -> Any:
    statement, seal, appraisal, token_id = wire.fields(given, "statement", "seal", "appraisal", "token_id")
    return broker.kbs_token(
        decode_bytes(statement), decode_bytes(seal), wire.mapping(appraisal), wire.text(token_id)
    )  # fmt: skip


def _kbs_key(broker: Any, given: Arguments) -> Any:
    wire.fields(given)
    return broker.kbs_key()


def _tpm_begin(broker: Any, given: Arguments) -> Any:
    principal_id, request = wire.fields(given, "principal_id", "request")
    return tpm_wire.challenge_out(broker.tpm_begin(wire.text(principal_id), wire.mapping(request)))


def _tpm_finish(broker: Any, given: Arguments) -> Any:
    enrolment_id, principal_id, secret = wire.fields(given, "enrolment_id", "principal_id", "secret")
    state = broker.tpm_finish(wire.text(enrolment_id), wire.text(principal_id), decode_bytes(secret))
    return tpm_wire.state_out(state)


def _tpm_approve(broker: Any, given: Arguments) -> Any:
    key_name, policy, decision, entry = wire.fields(given, "key_name", "policy", "decision", "entry")
    state = broker.tpm_approve(
        wire.text(key_name), wire.mapping(policy), wire.promised_in(decision), wire.promised_in(entry)
    )
    return tpm_wire.state_out(state)


def _tpm_retire(broker: Any, given: Arguments) -> Any:
    key_name, decision, entry = wire.fields(given, "key_name", "decision", "entry")
    return tpm_wire.state_out(
        broker.tpm_retire(wire.text(key_name), wire.promised_in(decision), wire.promised_in(entry))
    )


def _revoke_session(broker: KeyBroker, given: Arguments) -> Any:
    (session_id,) = wire.fields(given, "session_id")
    broker.revoke_session(wire.text(session_id))
    return None


def _revoke(broker: KeyBroker, given: Arguments) -> Any:
    what, value = wire.fields(given, "what", "value")
    broker.revoke(wire.text(what), wire.text(value))
    return None


def _key_order(broker: Any, given: Arguments) -> Any:
    order, decision, entry = wire.fields(given, "order", "decision", "entry")
    state = broker.key_order(wire.mapping(order), wire.promised_in(decision), wire.promised_in(entry))
    return wire.order_state_out(state)


def _key_approve(broker: Any, given: Arguments) -> Any:
    return wire.order_state_out(broker.key_approve(*_about(given)))


def _key_cancel(broker: Any, given: Arguments) -> Any:
    return wire.order_state_out(broker.key_cancel(*_about(given)))


def _about(given: Arguments) -> tuple[str, str, Promised, Promised]:
    request_id, sha256, decision, entry = wire.fields(given, "request_id", "request_sha256", "decision", "entry")
    return wire.text(request_id), wire.text(sha256), wire.promised_in(decision), wire.promised_in(entry)


def _key_step(broker: Any, given: Arguments) -> Any:
    request_id, recorded = wire.fields(given, "request_id", "recorded")
    return wire.order_state_out(broker.key_step(wire.text(request_id), recorded=recorded is True))


def _key_location(broker: Any, given: Arguments) -> Any:
    (key_class,) = wire.fields(given, "key_class")
    return wire.location_out(broker.key_location(wire.text(key_class)))


_METHODS: dict[str, Method] = {
    "hello": _hello,
    "generate": _generate,
    "unwrap": _unwrap,
    "manifest_keys": _manifest_keys,
    "unwrap_upload": _unwrap_upload,
    "end_upload": _end_upload,
    "builder_unwrap": _builder_unwrap,
    "pseudonym_key": _pseudonym_key,
    "challenge": _challenge,
    "attest": _attest,
    "kbs_challenge": _kbs_challenge,
    "kbs_attest": _kbs_attest,
    "kbs_token": _kbs_token,
    "kbs_key": _kbs_key,
    "tpm_begin": _tpm_begin,
    "tpm_finish": _tpm_finish,
    "tpm_approve": _tpm_approve,
    "tpm_retire": _tpm_retire,
    "revoke_session": _revoke_session,
    "revoke": _revoke,
    "key_order": _key_order,
    "key_approve": _key_approve,
    "key_cancel": _key_cancel,
    "key_step": _key_step,
    "key_location": _key_location,
}
_ALLOWED: dict[Role, frozenset[str]] = {
    Role.FRONT: frozenset(
        {
            "hello", "generate", "unwrap", "manifest_keys", "unwrap_upload", "challenge", "attest", "key_order",
            "key_approve", "key_cancel", "key_location", "revoke_session", "revoke", "end_upload", "kbs_challenge",
            "kbs_attest", "kbs_token", "kbs_key", "tpm_begin", "tpm_finish", "tpm_approve", "tpm_retire",
        }
    ),
    Role.BUILDER: frozenset({"hello", "generate", "builder_unwrap", "pseudonym_key"}),
    Role.KEEPER: frozenset({"hello", "key_step", "key_location"}),
}  # fmt: skip
