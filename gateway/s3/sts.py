"""STS on the S3 endpoint: AssumeRoleWithWebIdentity, and nothing else of it (AWS query protocol, version 2011-06-15).

The one request that needs no key, since it is how a workload gets one: the token in it is the authentication. POST
with a form, or a query (GET, and POST as minio-py sends it). What cannot be honoured, a session policy above all, is
refused: a caller who narrows a session must not get a wider one. Answers: docs/spec/web-identity.md.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from gateway.errors import BadRequest, Denied, GatewayError, Unavailable
from gateway.identity.errors import Unauthenticated
from gateway.identity.request_head import RequestHead, parse_query
from gateway.identity.web_token import TokenRefused
from gateway.record import rfc3339
from gateway.s3 import xml
from gateway.s3.body import Arrival
from gateway.s3.call import Answer

ACTION: Final = "AssumeRoleWithWebIdentity"
VERSION: Final = "2011-06-15"
NAMESPACE: Final = "https://sts.amazonaws.com/doc/2011-06-15/"
MAX_FORM: Final = 64 << 10
DEFAULT_SECONDS: Final = 3600
_FORM = "application/x-www-form-urlencoded"
_ROLE = re.compile(r"[\x09\x0a\x0d\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]{20,2048}")
_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_TAKEN = frozenset({"Action", "Version", "RoleArn", "RoleSessionName", "WebIdentityToken", "DurationSeconds"})
_POLICY = re.compile(r"Policy|PolicyArns(\..*)?")
_CODES: Final = {
    "AccessDenied": 403, "ExpiredTokenException": 400, "IDPCommunicationError": 400, "IDPRejectedClaim": 403,
    "InternalFailure": 500, "InvalidAction": 400, "InvalidIdentityToken": 400, "MalformedPolicyDocument": 400,
    "MissingAction": 400, "RequestEntityTooLarge": 413, "RequestTimeout": 408, "ServiceUnavailable": 503,
    "SlowDown": 503, "ValidationError": 400,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class RoleRequest:
    """What a caller asks for. `seconds`: None where it leaves the length of the session to the zone."""

    role_arn: str
    session_name: str
    token: str
    seconds: int | None
    source: str


@dataclass(frozen=True, slots=True)
class AssumedRole:
    """A session as STS answers it. `expires_at` ms UTC."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    expires_at: int
    subject: str
    audience: str
    provider: str
    role_id: str
    arn: str

    def __repr__(self) -> str:
        return f"<AssumedRole {self.access_key_id}>"


class Roles(Protocol):
    """Who issues identity sessions."""

    async def assume(self, request: RoleRequest) -> AssumedRole:
        """Raises TokenRefused, BadRequest "ValidationError", Unavailable; recorded where an issuer vouched for it."""
        ...


def is_sts(head: RequestHead) -> bool:
    """Whether a request to the endpoint itself is one of STS's. S3 has no operation that is called so."""
    if head.raw_path not in (b"", b"/"):
        return False
    if any(name == "Action" for name, _ in head.query):
        return head.method in ("GET", "POST")
    kind = (head.header(b"content-type") or "").partition(";")[0].strip().lower()
    return head.method == "POST" and kind == _FORM


class Sts:
    """`on_unauthenticated(code, source)` counts refusals of tokens that no issuer of this zone vouches for."""

    def __init__(self, roles: Roles, on_unauthenticated: Callable[[str, str], None]) -> None:
        self._roles = roles
        self._count = on_unauthenticated

    async def serve(self, head: RequestHead, answer: Answer) -> None:
        """Answers, whatever happens but ClientGone and what is nobody's business (the outermost handler's)."""
        try:
            assumed = await self._roles.assume(role_request(head, await _parameters(head, answer)))
        except GatewayError as error:
            stranger = isinstance(error, TokenRefused) and error.issuer is None
            if stranger or isinstance(error, Unauthenticated):
                self._count(f"sts.{error.rule or error.code}"[:64], head.source)
            await self._refuse(answer, error)
            return
        await answer.reply_xml(render_assumed(assumed, answer.request_id), [(b"cache-control", b"no-store")])

    async def _refuse(self, answer: Answer, error: GatewayError) -> None:
        code = _code_of(error)
        await answer.settle(MAX_FORM)
        retry: list[tuple[bytes, bytes]] = []
        if _CODES[code] == 503:
            retry = [(b"retry-after", b"%d" % (error.retry_after or 1))]
        await answer.reply_xml(render_error(code, error, answer.request_id), retry, _CODES[code])


def role_request(head: RequestHead, parameters: Sequence[tuple[str, str]]) -> RoleRequest:
    """The request, every parameter in it taken or refused by name. Raises BadRequest, Denied."""
    given = dict(parameters)
    if len(given) != len(parameters):
        raise BadRequest("ValidationError", "A parameter was sent more than once")
    action = given.get("Action")
    if action is None:
        raise BadRequest("MissingAction", "The request names no Action")
    if action != ACTION or given.get("Version") != VERSION:
        raise BadRequest("InvalidAction", f"Here STS has one operation: {ACTION}, version {VERSION}")
    if not head.secure:
        raise Denied("AccessDenied", "Tokens and keys travel over TLS only", rule="identity.plain-http",
                     remedy="use the https endpoint")  # fmt: skip
    for name in sorted(given):
        if _POLICY.fullmatch(name):
            raise BadRequest("MalformedPolicyDocument", f"{name} is not taken: sessions are not narrowed by policies, "
                             "the doctrine decides")  # fmt: skip
        if name not in _TAKEN:
            raise BadRequest("ValidationError", f"The parameter {name[:64]} is not taken here")
    role, name, token = (given.get(each, "") for each in ("RoleArn", "RoleSessionName", "WebIdentityToken"))
    if not _ROLE.fullmatch(role):
        raise BadRequest("ValidationError", "RoleArn must have 20 to 2048 characters")
    if not _SESSION_NAME.fullmatch(name):
        raise BadRequest("ValidationError", "RoleSessionName must have 2 to 64 characters of [A-Za-z0-9_+=,.@-]")
    if not 4 <= len(token) <= 20_000:
        raise BadRequest("ValidationError", "WebIdentityToken must have 4 to 20000 characters")
    return RoleRequest(role, name, token, _seconds(given.get("DurationSeconds")), head.source)


def _seconds(text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 900 <= int(text) <= 43_200:
        raise BadRequest("ValidationError", "DurationSeconds must be a whole number from 900 to 43200")
    return int(text)


async def _parameters(head: RequestHead, answer: Answer) -> list[tuple[str, str]]:
    """Of the query and of the form; a parameter in both is one sent twice."""
    found = list(head.query)
    if head.method != "POST":
        return found
    body, arrival = bytearray(), Arrival(answer)
    while (data := await arrival.next()) is not None:
        body += data
        if len(body) > MAX_FORM:
            raise BadRequest("RequestEntityTooLarge", f"The form is longer than {MAX_FORM} bytes", status=413)
    return found + parse_query(bytes(body))


def _code_of(error: GatewayError) -> str:
    if error.code in _CODES:
        return error.code
    if isinstance(error, Unavailable):
        return "ServiceUnavailable"
    if isinstance(error, Unauthenticated | BadRequest):
        return "ValidationError"
    return "AccessDenied" if isinstance(error, Denied) else "InternalFailure"


def render_assumed(assumed: AssumedRole, request_id: str) -> bytes:
    credentials = _elements(
        AccessKeyId=assumed.access_key_id, SecretAccessKey=assumed.secret_access_key,
        SessionToken=assumed.session_token, Expiration=rfc3339(assumed.expires_at // 1000 * 1000),
    )  # fmt: skip
    user = _elements(AssumedRoleId=assumed.role_id, Arn=assumed.arn)
    result = (
        f"<SubjectFromWebIdentityToken>{xml.escape(assumed.subject)}</SubjectFromWebIdentityToken>"
        f"<Audience>{xml.escape(assumed.audience)}</Audience><AssumedRoleUser>{user}</AssumedRoleUser>"
        f"<Credentials>{credentials}</Credentials><Provider>{xml.escape(assumed.provider)}</Provider>"
    )
    return _document(f"{ACTION}Response", f"<{ACTION}Result>{result}</{ACTION}Result>", request_id, "ResponseMetadata")


def render_error(code: str, error: GatewayError, request_id: str) -> bytes:
    """As every SDK parses it. `Type` says who is at fault, which some take for whether to try again."""
    fault = "Receiver" if _CODES[code] >= 500 else "Sender"
    inner = f"<Error>{_elements(Type=fault, Code=code, Message=error.sentence)}</Error>"
    return _document("ErrorResponse", inner, request_id, "")


def _elements(**values: str) -> str:
    return "".join(xml.element(name, value) for name, value in values.items())


def _document(root: str, inner: str, request_id: str, wrapper: str) -> bytes:
    tail = xml.element("RequestId", request_id)
    tail = f"<{wrapper}>{tail}</{wrapper}>" if wrapper else tail
    return f'<{root} xmlns="{NAMESPACE}">{inner}{tail}</{root}>\n'.encode()
