"""The S3 face as one plain ASGI app: authenticate, name, choose the action, answer. Nothing else stands in the road."""

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import structlog

from gateway.errors import BadRequest, Denied, GatewayError, SessionEnded
from gateway.identity.errors import Unauthenticated
from gateway.identity.post_policy import PostPolicy
from gateway.identity.request_head import RequestHead, percent_decode
from gateway.identity.sigv4 import VerifiedRequest
from gateway.limits import Shares
from gateway.s3.actions import choose
from gateway.s3.body import Arrival
from gateway.s3.call import (
    DRAIN_BYTES,
    DRAIN_BYTES_STRANGER,
    Answer,
    Call,
    ClientGone,
    Face,
    Receive,
    Send,
    StreamAborted,
)
from gateway.s3.errors import name_refused, render_failure, s3_failure
from gateway.s3.form import FormReader, form_boundary
from gateway.s3.ports import Guard
from gateway.s3.post_object import post_object
from gateway.s3.sts import Sts, is_sts
from vault.errors import VaultError

Authenticate = Callable[[RequestHead], Awaitable[VerifiedRequest]]
AuthenticateForm = Callable[[RequestHead, Mapping[str, str]], Awaitable[tuple[VerifiedRequest, PostPolicy]]]


def _count_nothing(_code: str, _source: str) -> None:
    return None


class S3App:
    """`authenticate` verifies one request or raises; `host_aliases` are the names whose sub-domains are buckets.

    `ignores_acls`: a canned ACL is taken and grants nothing, for conformance suites; else it is refused by name.

    `on_unauthenticated(code, source)` hears of every refusal before a principal was known; it must not block.
    """

    def __init__(
        self,
        guard: Guard,
        authenticate: Authenticate,
        *,
        zone: str,
        region: str,
        host_aliases: Sequence[str] = (),
        on_unauthenticated: Callable[[str, str], None] = _count_nothing,
        ignores_acls: bool = False,
        authenticate_form: AuthenticateForm | None = None,
        shares: Shares | None = None,
        sts: Sts | None = None,
    ) -> None:
        self._face = Face(guard, zone, region, ignores_acls)
        self._authenticate = authenticate
        self._authenticate_form = authenticate_form
        self._shares = shares
        self._sts = sts
        self._hosts = frozenset(alias.lower() for alias in host_aliases)
        self._suffixes = tuple("." + alias for alias in sorted(self._hosts, key=len, reverse=True))
        self._on_unauthenticated = on_unauthenticated
        self._log = structlog.get_logger("gateway.s3")

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        expects = any(name == b"expect" for name, _ in scope["headers"])
        extensions = scope.get("extensions", {})
        answer = Answer(
            receive, send, secrets.token_hex(8).upper(), expects_continue=expects,
            outlet=extensions.get("demesne.outlet"), cut=extensions.get("demesne.cut"),
        )  # fmt: skip
        try:
            await self._serve(scope, answer)
        except ClientGone:
            return
        except GatewayError as error:
            await self._refuse(scope, answer, error)
        except VaultError as error:
            await self._refuse(scope, answer, name_refused(error))
        except Exception as error:  # noqa: BLE001  the outermost handler: whatever it was, nothing of it is shown
            self._log.error("s3.unexpected", kind=type(error).__name__, request_id=answer.request_id)
            failure = GatewayError("InternalError", "we encountered an internal error; please try again")
            await self._refuse(scope, answer, failure)

    async def _serve(self, scope: dict[str, Any], answer: Answer) -> None:
        head = RequestHead.from_scope(scope)
        if head.method == "OPTIONS":
            _refuse_preflight(head)
        if self._sts is not None and is_sts(head) and self._name(head) == ("", ""):
            await self._sts.serve(head, answer)
            return
        form = policy = None
        try:
            if (boundary := form_boundary(head)) is None:
                verified = await self._authenticate(head)
            else:
                form = FormReader(Arrival(answer), boundary)
                verified, policy = await self._verify_form(head, form)
        except Unauthenticated as error:
            self._on_unauthenticated(error.code, head.source)
            raise
        if known := scope.get("extensions", {}).get("demesne.known"):
            known()
        bucket, key = self._name(head)
        call = Call(self._face, head, verified, bucket, key, answer)
        async with self._shares.under_way(verified.principal) if self._shares else nullcontext():
            if form is not None and policy is not None:
                await post_object(call, form, policy)
                return
            action = choose(call)
            await action(call)

    async def _verify_form(self, head: RequestHead, form: FormReader) -> tuple[VerifiedRequest, PostPolicy]:
        """The one operation that is authenticated by its body: its fields are read, bounded, and verified first."""
        if self._authenticate_form is None:
            raise Unauthenticated("AccessDenied", "forms are not taken here")
        await form.read_fields()
        return await self._authenticate_form(head, form.fields)

    def _name(self, head: RequestHead) -> tuple[str, str]:
        """Bucket and key, from the host or the path. Decoded once; the key keeps every byte it was given."""
        host = (head.header(b"host") or "").lower()
        name = host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host
        path = head.raw_path.removeprefix(b"/")
        if name not in self._hosts:
            for suffix in self._suffixes:
                if name.endswith(suffix):
                    return name[: -len(suffix)], percent_decode(path)
        bucket, _, key = path.partition(b"/")
        return percent_decode(bucket), percent_decode(key)

    async def _refuse(self, scope: dict[str, Any], answer: Answer, error: GatewayError) -> None:
        if answer.started:
            # Headers and perhaps data are out: a clean end would make half an object look whole.
            self._log.warning("s3.aborted", code=error.code, request_id=answer.request_id)
            if isinstance(error, SessionEnded):
                answer.cut()
            raise StreamAborted(error.code) from None
        failure = s3_failure(error)
        try:
            await answer.settle(DRAIN_BYTES_STRANGER if isinstance(error, Unauthenticated) else DRAIN_BYTES)
        except ClientGone:
            return
        headers = [(b"content-type", b"application/xml")]
        headers += [(name.encode("ascii"), value.encode("latin-1")) for name, value in error.headers.items()]
        if failure.region is not None:
            headers.append((b"x-amz-bucket-region", failure.region.encode("ascii")))
        if failure.decision_id is not None:
            headers.append((b"x-demesne-decision", failure.decision_id.encode("ascii")))
        if failure.rule is not None:  # to HEAD it is all that can be said
            headers.append((b"x-demesne-rule", failure.rule.encode("ascii", "replace")))
        if failure.status == 503:
            headers.append((b"retry-after", b"%d" % (failure.retry_after or 1)))
        resource = scope["raw_path"].decode("latin-1")
        body = render_failure(failure, resource, answer.request_id)
        await answer.reply(failure.status, headers, b"" if scope["method"] == "HEAD" else body)


def _refuse_preflight(head: RequestHead) -> None:
    if head.header(b"origin") is None or head.header(b"access-control-request-method") is None:
        raise BadRequest("InvalidRequest", "insufficient information; an Origin header is needed")
    raise Denied("AccessForbidden", "CORS is not enabled for this bucket")
