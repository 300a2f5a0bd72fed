"""What S3 clients raise, read for what the gateway said. `demesne.errors.from_s3` is the way in."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from demesne.errors import DemesneError, NotFound, Refused, session_closed, split_sentence, typed_error

_CODE = re.compile(
    r"\b(ReattestationRequired|AccessDenied|InvalidAccessKeyId|ExpiredToken|SlowDown|ServiceUnavailable)\b"
)
_FORBIDDEN = re.compile(r"\b(PermissionError|Forbidden|ACCESS_DENIED|status 403)\b")  # what is left of a refused HEAD
# What clients say when the container-credentials endpoint does not answer, or answers no.
_NO_CREDENTIALS = re.compile(
    r"container metadata|CredentialRetrieval|NoCredentials|locate credentials|container-role|"
    r"/v1/credentials|CredentialsProvider|Error getting credentials|demesne-session-[^/]*/token|EKS token file",
    re.IGNORECASE,
)  # fmt: skip
_ASK = "a HEAD is told no remedy: session.boto3().get_object(…) is"
_MOST_TEXT = 2000
_DEEPEST = 16


def typed(error: BaseException) -> DemesneError | None:
    """None when it says nothing of the gateway. The whole chain is searched for a reason before a bare "forbidden" is
    taken for one: s3fs wraps botocore's error in a PermissionError of one word."""
    chain = _chain(error)
    for read in _READERS:
        for step in chain:
            if (found := read(step)) is not None:
                return found
    return None


def _chain(error: BaseException) -> list[BaseException]:
    """The error and those it came from, innermost last."""
    found: list[BaseException] = []
    step: BaseException | None = error
    while step is not None and step not in found and len(found) < _DEEPEST:
        found.append(step)
        step = step.__cause__ or step.__context__
    return found


def _ours(error: BaseException) -> DemesneError | None:
    return error if isinstance(error, DemesneError) else None


def _answer(error: BaseException) -> DemesneError | None:
    """botocore keeps every element of S3's XML; to HEAD there is none, and headers say what they can."""
    answer = getattr(error, "response", None)
    if not isinstance(answer, Mapping) or not isinstance(answer.get("Error"), Mapping):
        return None
    said: Mapping[str, Any] = answer["Error"]
    about: Mapping[str, Any] = answer.get("ResponseMetadata") or {}
    headers = {str(name).lower(): str(value) for name, value in (about.get("HTTPHeaders") or {}).items()}
    message, facts = split_sentence(str(said.get("Message") or "the gateway gave no reason"))
    code = str(said.get("Code") or "unknown")
    wait = headers.get("retry-after", "")
    status = int(about.get("HTTPStatusCode") or (code if code.isdigit() else 0))
    bare = code == "403"  # of HEAD, which botocore names by its status
    return typed_error(
        status, "AccessDenied" if bare else code, message,
        rule=said.get("Rule") or facts.get("Rule") or headers.get("x-demesne-rule"),
        decision_id=said.get("DecisionId") or facts.get("Decision") or headers.get("x-demesne-decision"),
        remedy=said.get("Remedy") or facts.get("What to do") or (_ASK if bare else None),
        retry_after=float(wait) if wait.isdigit() else None,
    )  # fmt: skip


def _sentence(error: BaseException) -> DemesneError | None:
    """A client that keeps only text: the gateway's sentence, or at least its code."""
    text = f"{type(error).__name__}: {error}"
    message, facts = split_sentence(text)
    named = _CODE.search(text)
    if not facts and named is None:
        return None
    code = named[1] if named else "AccessDenied"
    return typed_error(
        503 if code in {"SlowDown", "ServiceUnavailable"} else 403, code, message[:_MOST_TEXT],
        rule=facts.get("Rule"), decision_id=facts.get("Decision"), remedy=facts.get("What to do"),
    )  # fmt: skip


def _no_credentials(error: BaseException) -> DemesneError | None:
    found = _NO_CREDENTIALS.search(f"{type(error).__name__}: {error}")
    return session_closed("the session's agent gave no credentials") if found else None


def _absent(error: BaseException) -> DemesneError | None:
    """Filesystems (s3fs, pyarrow) say it as the standard library does."""
    found = isinstance(error, FileNotFoundError)
    return NotFound("NoSuchKey", str(error)[:_MOST_TEXT], status=404) if found else None


def _bare(error: BaseException) -> DemesneError | None:
    text = f"{type(error).__name__}: {error}"
    if _FORBIDDEN.search(text) is None:
        return None
    return Refused("AccessDenied", text[:_MOST_TEXT], status=403, remedy=_ASK)


_READERS: tuple[Callable[[BaseException], DemesneError | None], ...] = (
    _ours, _answer, _sentence, _no_credentials, _absent, _bare,
)  # fmt: skip
