"""Both directions of every argument and answer of the broker, side by side. Closed: nothing missing, nothing more."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from vault.broker.protocol import decode_bytes, encode_bytes
from vault.broker.types import (
    Attested,
    Challenge,
    GeneratedKey,
    Grant,
    Hello,
    KeyOrderState,
    ManifestKeys,
    Promised,
)
from vault.envelope.wrap import WrappedKey
from vault.errors import Malformed
from vault.keys.hierarchy import KeyScope
from vault.keys.provider import ProviderLocation
from vault.keys.secrets import SecretBytes

Document = dict[str, Any]


def fields(document: object, *names: str) -> list[Any]:
    """The values of exactly these fields, in this order; `Malformed("broker.field")` otherwise."""
    if not isinstance(document, dict) or set(document) != set(names):
        raise Malformed("broker.field", f"exactly the fields {', '.join(names)}")
    return [document[name] for name in names]


def text(value: object) -> str:
    """`value` if it is text of at most 8192 characters."""
    if not isinstance(value, str) or len(value) > 8192:
        raise Malformed("broker.field", "text expected")
    return value


def text_or_none(value: object) -> str | None:
    return None if value is None else text(value)


def texts(value: object) -> list[str]:
    if not isinstance(value, list):
        raise Malformed("broker.field", "a list of texts expected")
    return [text(item) for item in value]


def integer(value: object) -> int:
    """`value` if it is an integer; True is not one."""
    if type(value) is not int:
        raise Malformed("broker.field", "an integer expected")
    return value


def mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Malformed("broker.field", "an object expected")
    return value


def mappings(value: object) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise Malformed("broker.field", "a list of objects expected")
    return [mapping(item) for item in value]


def scope_out(scope: KeyScope) -> Document:
    return {
        "tenant": scope.tenant,
        "zone": scope.zone,
        "dataset_id": scope.dataset_id,
        "key_class": scope.key_class,
    }


def scope_in(document: object) -> KeyScope:
    return KeyScope(*(text(value) for value in fields(document, "tenant", "zone", "dataset_id", "key_class")))


def wrapped_out(wrapped: WrappedKey) -> Document:
    return {
        "group_id": wrapped.group_id,
        "key_class": wrapped.key_class,
        "wrapped": encode_bytes(wrapped.wrapped),
    }


def wrapped_in(document: object) -> WrappedKey:
    group_id, key_class, wrapped = fields(document, "group_id", "key_class", "wrapped")
    return WrappedKey(text(group_id), text(key_class), decode_bytes(wrapped))


def grant_out(grant: Grant) -> Document:
    return {"entry": encode_bytes(grant.entry), "promise": grant.promise, "session_id": grant.session_id}


def grant_in(document: object) -> Grant:
    entry, promise, session_id = fields(document, "entry", "promise", "session_id")
    return Grant(decode_bytes(entry), text(promise), text_or_none(session_id))


def promised_out(promised: Promised) -> Document:
    return {"entry": encode_bytes(promised.entry), "promise": promised.promise}


def promised_in(document: object) -> Promised:
    entry, promise = fields(document, "entry", "promise")
    return Promised(decode_bytes(entry), text(promise))


def order_state_out(state: KeyOrderState) -> Document:
    return asdict(state)


def order_state_in(document: object) -> KeyOrderState:
    request_id, action, dataset_id, state, step, sha256, expires_at, execute_at, result = fields(
        document, "request_id", "action", "dataset_id", "state", "step", "request_sha256", "expires_at", "execute_at",
        "result",
    )  # fmt: skip
    return KeyOrderState(
        text(request_id), text(action), text(dataset_id), text(state), text(step), text(sha256), integer(expires_at),
        integer(execute_at), mapping(result),
    )  # fmt: skip


def location_out(location: ProviderLocation) -> Document:
    return {"observed": location.observed, "strength": location.strength, "target": location.target}


def location_in(document: object) -> ProviderLocation:
    observed, strength, target = fields(document, "observed", "strength", "target")
    return ProviderLocation(text(observed), text(strength), text(target))


def key_in(value: object) -> SecretBytes:
    return SecretBytes(decode_bytes(value))


def hello_out(hello: Hello) -> Document:
    return {
        "catalog_mac_key": encode_bytes(hello.catalog_mac_key),
        "token_key": encode_bytes(hello.token_key),
        "record_hash_key": encode_bytes(hello.record_hash_key),
        "decision_key": encode_bytes(hello.decision_key),
        "ledger_public_key": encode_bytes(hello.ledger_public_key),
        "session_authority": encode_bytes(hello.session_authority),
    }


def hello_in(document: object) -> Hello:
    mac, token, record, decision, ledger, authority = fields(
        document, "catalog_mac_key", "token_key", "record_hash_key", "decision_key", "ledger_public_key",
        "session_authority",
    )  # fmt: skip
    return Hello(
        key_in(mac), key_in(token), key_in(record), key_in(decision), decode_bytes(ledger), decode_bytes(authority)
    )


def generated_out(generated: GeneratedKey) -> Document:
    upload = generated.upload_wrapped
    return {
        "object_key": encode_bytes(generated.object_key),
        "wrapped": wrapped_out(generated.wrapped),
        "upload_wrapped": None if upload is None else encode_bytes(upload),
    }


def generated_in(document: object) -> GeneratedKey:
    object_key, wrapped, upload = fields(document, "object_key", "wrapped", "upload_wrapped")
    return GeneratedKey(key_in(object_key), wrapped_in(wrapped), None if upload is None else decode_bytes(upload))


def manifests_out(manifests: Sequence[tuple[str, int]]) -> list[list[Any]]:
    return [[name, generation] for name, generation in manifests]


def manifests_in(document: object) -> list[tuple[str, int]]:
    if not isinstance(document, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in document):
        raise Malformed("broker.field", "a list of pairs expected")
    return [(text(name), integer(generation)) for name, generation in document]


def manifest_keys_out(released: ManifestKeys) -> Document:
    wrapped = None if released.wrapped is None else wrapped_out(released.wrapped)
    return {"keys": [encode_bytes(key) for key in released.keys], "wrapped": wrapped}


def manifest_keys_in(document: object) -> ManifestKeys:
    keys, wrapped = fields(document, "keys", "wrapped")
    return ManifestKeys(tuple(key_in(key) for key in texts(keys)), None if wrapped is None else wrapped_in(wrapped))


def challenge_out(challenge: Challenge) -> Document:
    return {"nonce": challenge.nonce, "expires_at": challenge.expires_at}


def challenge_in(document: object) -> Challenge:
    nonce, expires_at = fields(document, "nonce", "expires_at")
    return Challenge(text(nonce), integer(expires_at))


def attested_out(attested: Attested) -> Document:
    return {
        "session_id": attested.session_id,
        "claims": attested.claims,
        "attested_at": attested.attested_at,
        "expires_at": attested.expires_at,
        "seals": {tier: encode_bytes(seal) for tier, seal in attested.seals.items()},
        "key_thumbprint": attested.key_thumbprint,
        "purpose": attested.purpose,
        "scope": list(attested.scope),
        "bound_source": attested.bound_source,
        "bound_key": attested.bound_key,
        "certificate": attested.certificate,
    }


def attested_in(document: object) -> Attested:
    session_id, claims, attested_at, expires_at, seals, thumbprint, purpose, scope, source, key, certificate = fields(
        document, "session_id", "claims", "attested_at", "expires_at", "seals", "key_thumbprint", "purpose", "scope",
        "bound_source", "bound_key", "certificate",
    )  # fmt: skip
    return Attested(
        text(session_id), mapping(claims), integer(attested_at), integer(expires_at),
        {tier: decode_bytes(seal) for tier, seal in mapping(seals).items()}, text(thumbprint), text(purpose),
        tuple(texts(scope)), text(source), text(key), text(certificate),
    )  # fmt: skip


def arguments(document: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Method and arguments of a request."""
    method, given, _ = fields(dict(document), "method", "arguments", "v")
    return text(method), mapping(given)
