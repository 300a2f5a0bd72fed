"""What a vault failure is to the caller: the one place where the vault's reasons become answers.

Causes go to the log, names of rules go out. A part that the catalog names and the store or key rows lost is never
"no such object": a client, and its backup, would believe that it was deleted.
"""

from typing import Final

from gateway.errors import BadRequest, Conflict, Denied, GatewayError, NotFound, PreconditionFailed, Unavailable
from vault import errors as vault_errors

RETRY_SECONDS: Final = 1
_LOST: Final = frozenset({"store.missing", "manifest", "epoch", "key.group", "key.unknown"})
_ABSENT: Final = {
    "dataset": ("NoSuchBucket", "No dataset of that name is here for you"),
    "principal": ("NoSuchPrincipal", "No principal of that id or name is here"),
    "broker.dataset": ("NoSuchBucket", "No dataset of that name is here for you"),
    "upload": ("NoSuchUpload", "The upload is not open any more"),
    "broker.upload": ("NoSuchUpload", "The upload is not open any more"),
}
_CONFLICTS: Final = {
    "dataset.not-empty": ("BucketNotEmpty", "The dataset still holds objects"),
    "dataset.exists": ("BucketAlreadyOwnedByYou", "A dataset of that name exists already"),
}
_BAD_REQUESTS: Final = {
    "parts.empty": ("InvalidRequest", "name at least one part"),
    "parts.order": ("InvalidPartOrder", "part numbers must rise"),
    "parts.unknown": ("InvalidPart", "a part named here was not uploaded, or has another ETag"),
    "parts.small": ("EntityTooSmall", "every part but the last has at least 5 MiB"),
    "part.number": ("InvalidArgument", "a part number is from 1 to 10000"),
    "part.large": ("EntityTooLarge", "a part has at most 5 GiB"),
    "attest.challenge": ("InvalidArgument", "scope: from 1 to 256 dataset names"),
    "broker.size": ("EntityTooLarge", "the evidence is larger than 1 MiB"),
}
_KEYS: Final[dict[str, tuple[type[GatewayError], str, str, str]]] = {
    "key.epoch": (NotFound, "NoSuchKeyEpoch", "No epoch key of that name and class is here", "see `key list`"),
    "key.version": (NotFound, "NoSuchVersion", "None of these versions has a key here", "see the dataset's versions"),
    "key.request": (NotFound, "NoSuchKeyRequest", "No order of that id is here", "see `key requests`"),
    "key.same-person": (Denied, "AccessDenied", "Who asked cannot approve", "have another custodian approve"),
    "key.request-expired": (Denied, "AccessDenied", "The order is too old", "give it again"),
    "key.request-ended": (Conflict, "OperationAborted", "The order was cancelled", "give it again"),
    "key.request-altered": (Denied, "AccessDenied", "This is not what was asked", "read the order again"),
    "key.request-state": (Conflict, "OperationAborted", "The order is past that", "look at it with `key show`"),
    "key.in-use": (Conflict, "KeyInUse", "Objects still open with this key", "`key rewrap` first, or `key shred`"),
    "key.active": (Conflict, "KeyInUse", "New objects go to this key", "`key rotate` first"),
    "key.state": (Conflict, "OperationAborted", "The key is past that", "see `key list`"),
    "key.busy": (Conflict, "OperationAborted", "Another order about this dataset is carried out", "wait for it"),
    "key.disabled": (Denied, "KeyDisabled", "The key is disabled", "a custodian enables it: `key enable`"),
    "key.pending": (Denied, "KeyDisabled", "The key is to be destroyed", "cancel that: `key cancel`"),
    "key.destroyed": (Denied, "KeyDestroyed", "The key was destroyed", "nothing brings this object back"),
    "key.erased": (Denied, "KeyDestroyed", "The object was erased", "nothing brings this object back"),
    "tpm.key": (NotFound, "NoSuchTpmKey", "No attestation key of that name is enrolled here", "see `attest keys`"),
    "tpm.enrolled": (Conflict, "TpmKeyExists", "This key is enrolled already, or was retired", "make another key"),
    "tpm.retired": (Conflict, "TpmKeyRetired", "The attestation key is retired", "enrol another"),
    "tpm.changed": (Conflict, "OperationAborted", "The key was changed meanwhile", "try again"),
    "key.group-closed": (Unavailable, "SlowDown", "Keys of this dataset are being replaced", "try again"),
}
_LAPSED: Final = frozenset({"session.stale", "session.revoked", "session.expired"})


def translate(error: vault_errors.VaultError) -> GatewayError:
    """The answer to `error`; rules of what failed verification begin with "integrity."."""
    if error.reason in _KEYS:
        kind, code, message, remedy = _KEYS[error.reason]
        retry = RETRY_SECONDS if kind is Unavailable else None
        return kind(code, message, rule=error.reason, remedy=remedy, retry_after=retry)
    if isinstance(error, vault_errors.NotFound) and error.reason not in _LOST:
        code, message = _ABSENT.get(error.reason, ("NoSuchKey", "No such object"))
        return NotFound(code, message, rule=error.reason)
    if isinstance(error, vault_errors.Conflict):
        return _conflict(error)
    if isinstance(error, vault_errors.Unavailable):
        return Unavailable(
            "ServiceUnavailable", "A part of the zone did not answer in its budget", rule=error.reason,
            remedy="try again", retry_after=RETRY_SECONDS,
        )  # fmt: skip
    if isinstance(error, vault_errors.Refused) and error.reason not in _LOST:
        return _refused(error)
    if isinstance(error, vault_errors.Malformed) and error.reason in _BAD_REQUESTS:
        code, message = _BAD_REQUESTS[error.reason]
        return BadRequest(code, message, rule=error.reason)
    return GatewayError(
        "InternalError", "Stored data failed verification and was not served", rule=f"integrity.{error.reason}",
        remedy="tell the operator; the object needs to be restored",
    )  # fmt: skip


def _conflict(error: vault_errors.Conflict) -> GatewayError:
    if error.reason.startswith("precondition"):
        return PreconditionFailed("PreconditionFailed", "The object is not what the condition names")
    other = ("OperationAborted", "Another operation won; nothing of this one happened")
    code, message = _CONFLICTS.get(error.reason, other)
    return Conflict(code, message, rule=error.reason)


def _refused(error: vault_errors.Refused) -> Denied:
    if error.reason in _LAPSED:  # the broker looks for itself; what this worker remembers may be seconds old
        return Denied(
            "ReattestationRequired", "The session was revoked or its attestation is no longer fresh",
            rule=error.reason, remedy="attest again",
        )  # fmt: skip
    if error.reason == "version.not-author":
        return Denied(
            "AccessDenied", "Somebody else wrote this object: no condition compares it for you",
            rule="access.not-author", remedy="leave the condition out, or ask who wrote it",
        )  # fmt: skip
    # Evidence that is refused is the caller's; whatever else is refused says that something was changed.
    rule = error.reason if error.reason.startswith("attest.") else f"integrity.{error.reason}"
    return Denied(
        "AccessDenied", "The vault refused: what is stored or asked is not what was recorded", rule=rule,
        remedy="tell the operator; nothing was served",
    )  # fmt: skip
