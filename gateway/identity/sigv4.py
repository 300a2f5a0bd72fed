"""The SigV4 verifier: one call that returns a verified principal or raises, before anything is routed.

What is checked, in order (the numbers stand again at the code):
 1. exactly one signature, header or presigned, and it parses                 (claimed.py)
 2. its region and service are this endpoint's
 3. its time: within the skew of now; a presigned URL not early, not expired, and never older than our own limit
 4. host, the date and every x-amz-* header that was sent are signed; every signed header was sent
 5. the key id is known, the session token (if any) is ours, unexpired, and belongs to it
 6. the signature, in constant time
 7. the form of the body is known, and an unsigned one travels over TLS or loopback only
The caller must still check the body against `payload`: gateway/s3/body.py, gateway/identity/api.py.
"""

import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from gateway.identity import canonical
from gateway.identity.claimed import SIGNATURE_PARAMETER, ClaimedSignature, parse_claim
from gateway.identity.errors import Unauthenticated
from gateway.identity.lookup import KeyLookup
from gateway.identity.post_policy import PostPolicy, parse_form_claim, parse_policy
from gateway.identity.principal import Principal
from gateway.identity.request_head import RequestHead

SKEW_SECONDS = 300
PRESIGNED_SECONDS = 900
_SIGNING_KEYS = 1024  # cached; cleared whole when full, so a flood of keys costs time and never memory

_SHA256 = re.compile(r"[0-9a-f]{64}").fullmatch


class PayloadKind(Enum):
    """How the body is protected, as x-amz-content-sha256 says."""

    SHA256 = "sha256"
    UNSIGNED = "UNSIGNED-PAYLOAD"
    STREAMING_SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    STREAMING_SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
    STREAMING_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

    @property
    def chunked(self) -> bool:
        return self.value.startswith("STREAMING-")

    @property
    def signed_chunks(self) -> bool:
        return self.value.startswith("STREAMING-AWS4")

    @property
    def trailer(self) -> bool:
        return self.value.endswith("-TRAILER")


_BODY_FORMS = {kind.value: kind for kind in PayloadKind if kind is not PayloadKind.SHA256}


@dataclass(frozen=True, slots=True)
class Payload:
    kind: PayloadKind
    sha256: str | None = None  # lower-case hex, for PayloadKind.SHA256


@dataclass(frozen=True, slots=True)
class VerifiedRequest:
    """The head is authentic. `signing_key` and `seed_signature` verify the chunks that may follow."""

    principal: Principal
    payload: Payload
    seed_signature: str
    signing_key: bytes = field(repr=False)
    scope: str
    timestamp: str
    presigned: bool


class Verifier:
    """`clock` answers seconds since the epoch. One instance per (service, region); safe to share in one event loop."""

    def __init__(
        self,
        lookup: KeyLookup,
        *,
        region: str,
        service: str = "s3",
        clock: Callable[[], float],
        presigned_seconds: int = PRESIGNED_SECONDS,
        unsigned_over_plain_http: bool = False,
    ) -> None:
        self._lookup = lookup
        self._region = region
        self._service = service
        self._clock = clock
        self._presigned_seconds = presigned_seconds
        self._unsigned_anywhere = unsigned_over_plain_http
        self._keys: dict[tuple[str, str], bytes] = {}

    async def authenticate(self, head: RequestHead) -> VerifiedRequest:
        claim = parse_claim(head)  # 1
        self._check_scope(claim)  # 2
        self._check_time(claim)  # 3
        check_signed_headers(head, claim)  # 4
        stated = _stated_payload(head, claim, self._service)
        found = await self._lookup.lookup(claim.access_key_id, claim.security_token)  # 5
        key = self._signing_key(found.secret, claim.date)
        expected = canonical.signature(key, signed_message(head, claim, stated))
        if not hmac.compare_digest(expected, claim.signature):  # 6
            raise Unauthenticated(
                "SignatureDoesNotMatch",
                "the signature is not the one this request must have",
                remedy="check the secret key, the signing method, and that no proxy changes the path or headers",
            )
        payload = parse_payload(stated)
        self._check_transport(head, payload)  # 7
        principal = replace(
            found.principal, source=head.source, client_key=head.client_key,
            authenticator="presigned" if claim.presigned else "sigv4",
        )  # fmt: skip
        return VerifiedRequest(
            principal, payload, claim.signature, key, claim.scope, claim.timestamp, presigned=claim.presigned
        )

    async def authenticate_form(
        self, head: RequestHead, fields: Mapping[str, str]
    ) -> tuple[VerifiedRequest, PostPolicy]:
        """A POST form, by the signature of its policy. The caller still checks the policy's conditions.

        The policy ends at its own expiration, and never later than our limit for presigned URLs: it is a bearer too.
        """
        if b"authorization" in head.headers or head.query:
            raise Unauthenticated("InvalidArgument", "only one authentication mechanism is allowed in one request")
        claim = parse_form_claim(fields)
        self._check_scope(claim)
        found = await self._lookup.lookup(claim.access_key_id, claim.security_token)
        key = self._signing_key(found.secret, claim.date)
        expected = canonical.signature(key, fields["policy"].encode("utf-8"))
        if not hmac.compare_digest(expected, claim.signature):
            raise Unauthenticated("SignatureDoesNotMatch", "the signature is not the one this policy must have")
        policy = parse_policy(fields["policy"])
        age = self._clock() - claim.at
        if age < -SKEW_SECONDS:
            raise Unauthenticated("AccessDenied", "the form is not yet valid")
        if policy.expires_at <= self._clock() or age >= self._presigned_seconds:
            raise Unauthenticated(
                "AccessDenied",
                f"invalid according to policy: policy expired; policies live {self._presigned_seconds} seconds here",
                remedy="sign a new one",
            )
        payload = Payload(PayloadKind.UNSIGNED)
        self._check_transport(head, payload)
        principal = replace(
            found.principal, source=head.source, client_key=head.client_key, authenticator="post-policy"
        )
        verified = VerifiedRequest(
            principal, payload, claim.signature, key, claim.scope, claim.timestamp, presigned=False
        )
        return verified, policy

    def _check_scope(self, claim: ClaimedSignature) -> None:
        code = "AuthorizationQueryParametersError" if claim.presigned else "AuthorizationHeaderMalformed"
        if claim.region != self._region:
            raise Unauthenticated(
                code,
                f"the region '{claim.region}' is wrong; expecting '{self._region}'",
                remedy=f"configure the client with region {self._region}",
                region=self._region,
            )
        if claim.service != self._service:
            raise Unauthenticated(code, f"the service '{claim.service}' is wrong; expecting '{self._service}'")

    def _check_time(self, claim: ClaimedSignature) -> None:
        age = self._clock() - claim.at
        if claim.expires is None:
            if not -SKEW_SECONDS <= age <= SKEW_SECONDS:
                raise Unauthenticated(
                    "RequestTimeTooSkewed",
                    f"the time of the request and of this server differ by more than {SKEW_SECONDS} seconds",
                    remedy="set the clock of the client",
                )
            return
        if age < -SKEW_SECONDS:
            raise Unauthenticated("AccessDenied", "the presigned URL is not yet valid")
        # A longer X-Amz-Expires is shortened, not refused: clients' default is an hour. A link replays until it ends.
        if age >= min(claim.expires, self._presigned_seconds):
            raise Unauthenticated(
                "AccessDenied",
                f"the presigned URL has expired; links live {self._presigned_seconds} seconds here, whatever they say",
                remedy="sign a new one",
            )

    def _check_transport(self, head: RequestHead, payload: Payload) -> None:
        unsigned = payload.kind in (PayloadKind.UNSIGNED, PayloadKind.STREAMING_UNSIGNED_TRAILER)
        if unsigned and head.method in ("PUT", "POST") and not (head.secure or self._unsigned_anywhere):
            raise Unauthenticated(
                "AccessDenied",
                "an unsigned body is accepted over TLS or from loopback only",
                remedy="use https, or sign the payload",
            )

    def _signing_key(self, secret: str, date: str) -> bytes:
        key = self._keys.get((secret, date))
        if key is None:
            if len(self._keys) >= _SIGNING_KEYS:
                self._keys.clear()
            key = self._keys[secret, date] = canonical.signing_key(secret, date, self._region, self._service)
        return key


def check_signed_headers(head: RequestHead, claim: ClaimedSignature) -> None:
    """An unsigned x-amz-* header could be added on the way and change what the request does."""
    signed = claim.signed_headers
    for name in head.headers:
        if name.startswith(b"x-amz-") and name not in signed:
            raise Unauthenticated("AccessDenied", f"header {name.decode('latin-1')} was sent and is not signed")
    if b"host" not in signed:
        raise Unauthenticated("AccessDenied", "the Host header must be signed")
    if not claim.presigned and b"x-amz-date" not in signed and b"date" not in signed:
        raise Unauthenticated("AccessDenied", "the date of the request must be signed")
    for name in signed:
        if name not in head.headers:
            raise Unauthenticated("SignatureDoesNotMatch", f"header {name.decode('latin-1')} is signed and missing")


def signed_message(head: RequestHead, claim: ClaimedSignature, stated_payload: str) -> bytes:
    """The string to sign of this request."""
    query = canonical.canonical_query(head.raw_query, without=SIGNATURE_PARAMETER if claim.presigned else b"")
    path = canonical.canonical_path(head.raw_path)
    request = canonical.canonical_request(
        head.method, path, query, headers=head.headers, signed=claim.signed_headers, payload=stated_payload
    )
    return canonical.string_to_sign(claim.timestamp, claim.scope, request)


def _stated_payload(head: RequestHead, claim: ClaimedSignature, service: str) -> str:
    stated = head.header(b"x-amz-content-sha256")
    if stated is not None:
        return stated
    if claim.presigned:
        return head.parameter("X-Amz-Content-Sha256") or PayloadKind.UNSIGNED.value
    raise Unauthenticated("InvalidRequest", f"header x-amz-content-sha256 is missing; {service} requests must send it")


def parse_payload(stated: str) -> Payload:
    """Raises Unauthenticated for a form that is not known: an unknown form is never treated as unsigned."""
    if _SHA256(stated):
        return Payload(PayloadKind.SHA256, stated)
    kind = _BODY_FORMS.get(stated)
    if kind is None:
        if stated.startswith("STREAMING-AWS4-ECDSA-"):
            raise Unauthenticated("NotImplemented", "asymmetric signatures (SigV4A) are not supported")
        raise Unauthenticated("InvalidArgument", "x-amz-content-sha256 must be a lower-case SHA-256 or a known form")
    return Payload(kind)
