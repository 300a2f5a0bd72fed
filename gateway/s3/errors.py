"""S3's words for what went wrong: the codes this dialect may answer with, and the one place that chooses among them.

A GatewayError whose code is S3's keeps it. Ours (dotted names such as "attestation.required") become the S3 code of
their kind, because clients act on the code: our own name, the rule, the decision and the remedy stand in the message
and in elements of their own.
"""

from dataclasses import dataclass

from gateway.errors import BadRequest, Conflict, Denied, GatewayError, NotFound, PreconditionFailed, Unavailable
from gateway.identity.errors import Unauthenticated
from gateway.s3 import xml
from vault.errors import VaultError

CODES = {
    "AccessControlListNotSupported": 400,
    "AccessDenied": 403,
    "AccessForbidden": 403,
    "AuthorizationHeaderMalformed": 400,
    "AuthorizationQueryParametersError": 400,
    "BadDigest": 400,
    "BucketAlreadyExists": 409,
    "BucketAlreadyOwnedByYou": 409,
    "BucketNotEmpty": 409,
    "ConditionalRequestConflict": 409,
    "EntityTooLarge": 400,
    "EntityTooSmall": 400,
    "ExpiredToken": 400,
    "IllegalLocationConstraintException": 400,
    "IllegalVersioningConfigurationException": 400,
    "IncompleteBody": 400,
    "IncorrectNumberOfFilesInPostRequest": 400,
    "InternalError": 500,
    "InvalidAccessKeyId": 403,
    "InvalidArgument": 400,
    "InvalidBucketName": 400,
    "InvalidDigest": 400,
    "InvalidPart": 400,
    "InvalidPartOrder": 400,
    "InvalidPolicyDocument": 400,
    "InvalidRange": 416,
    "InvalidRequest": 400,
    "InvalidStorageClass": 400,
    "InvalidTag": 400,
    "InvalidToken": 400,
    "InvalidURI": 400,
    "KeyTooLongError": 400,
    "MalformedPOSTRequest": 400,
    "MalformedTrailerError": 400,
    "MalformedXML": 400,
    "MaxMessageLengthExceeded": 400,
    "MaxPostPreDataLengthExceeded": 400,
    "MetadataTooLarge": 400,
    "MethodNotAllowed": 405,
    "MissingContentLength": 411,
    "NoSuchBucket": 404,
    "NoSuchKey": 404,
    "NoSuchUpload": 404,
    "NoSuchVersion": 404,
    "NotImplemented": 501,
    "OperationAborted": 409,
    "PreconditionFailed": 412,
    "ReattestationRequired": 403,
    "RequestTimeTooSkewed": 403,
    "RequestTimeout": 400,
    "ServiceUnavailable": 503,
    "SignatureDoesNotMatch": 403,
    "SlowDown": 503,
    "UserKeyMustBeSpecified": 400,
    "XAmzContentSHA256Mismatch": 400,
}

_KINDS: tuple[tuple[type[GatewayError], str], ...] = (
    (Denied, "AccessDenied"),
    (PreconditionFailed, "PreconditionFailed"),
    (Conflict, "OperationAborted"),
    (Unavailable, "ServiceUnavailable"),
    (BadRequest, "InvalidRequest"),
)

_REFUSED_NAMES = {
    "dataset.name": ("InvalidBucketName", "the bucket name is not valid: 3 to 63 characters of a-z, 0-9, '.', '-'"),
    "key.length": ("KeyTooLongError", "a key is 1 to 1024 UTF-8 bytes, without NUL"),
    "key.encoding": ("InvalidURI", "the key is not UTF-8"),
}


@dataclass(frozen=True, slots=True)
class S3Failure:
    """What the client gets. `message` names our code, the rule, the decision and the remedy when there are any."""

    code: str
    status: int
    message: str
    rule: str | None = None
    decision_id: str | None = None
    remedy: str | None = None
    retry_after: int | None = None
    region: str | None = None


def s3_failure(error: GatewayError) -> S3Failure:
    code = _code_of(error)
    sentence = error.sentence if error.code == code else f"{error.code}: {error.sentence}"
    return S3Failure(
        code,
        CODES[code],
        sentence,
        rule=error.rule,
        decision_id=error.decision_id,
        remedy=error.remedy,
        retry_after=error.retry_after,
        region=error.region if isinstance(error, Unauthenticated) else None,
    )


def _code_of(error: GatewayError) -> str:
    if error.code in CODES:
        return error.code
    if isinstance(error, NotFound):
        named_dataset = error.code.startswith(("dataset", "bucket", "zone"))
        return "NoSuchBucket" if named_dataset else "NoSuchUpload" if error.code.startswith("upload") else "NoSuchKey"
    for kind, code in _KINDS:
        if isinstance(error, kind):
            return code
    return "InternalError"


def name_refused(error: VaultError) -> GatewayError:
    """A dataset or object name that cannot be one. Anything else the vault says is not for this caller's ears."""
    found = _REFUSED_NAMES.get(error.reason)
    if found is None:
        return GatewayError("InternalError", "an internal part failed")
    return BadRequest(*found)


def render_failure(failure: S3Failure, resource: str, request_id: str) -> bytes:
    fields = [("Code", failure.code), ("Message", failure.message), ("Resource", resource), ("RequestId", request_id)]
    ours = (
        ("Region", failure.region),
        ("Rule", failure.rule),
        ("DecisionId", failure.decision_id),
        ("Remedy", failure.remedy),
    )
    fields += [(name, value) for name, value in ours if value]
    return xml.document("Error", "".join(xml.element(name, value) for name, value in fields), namespace=False)
