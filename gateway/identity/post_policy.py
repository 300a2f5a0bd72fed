"""The POST form authenticator: a browser uploads with a policy that somebody signed beforehand. The fourth of five.

    verify_post_policy(...)   fields of the form -> ClaimedSignature checked, PostPolicy      (sigv4.py calls it)
    PostPolicy.check(...)     every field is allowed by a condition, every condition holds

What is signed is the base64 text of the policy and nothing else, so the form is authentic exactly as far as its
conditions go: a field without a condition refuses. Source: "Authenticating Requests: Browser-Based Uploads Using
POST (AWS Signature Version 4)", S3 API reference.
"""

import base64
import binascii
import datetime as dt
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.errors import BadRequest
from gateway.identity.claimed import ClaimedSignature, parse_credential, parse_timestamp
from gateway.identity.errors import Unauthenticated

MAX_POLICY = 20 << 10  # bytes of the base64 text, as S3 has it for all fields before the file
FIELDS = ("x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature", "policy")
# Fields that need no condition: they carry the policy, its signature, the file itself, or are to be ignored.
_FREE = frozenset(("x-amz-signature", "policy", "file"))
_EXPIRATION = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z").fullmatch


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition: eq or starts-with on a field (lower case), or a range of content lengths (`field` "")."""

    kind: str  # "eq" | "starts-with" | "content-length-range"
    field: str
    value: str = ""
    low: int = 0
    high: int = 0


@dataclass(frozen=True, slots=True)
class PostPolicy:
    """A policy whose signature was verified."""

    expires_at: float  # seconds since the epoch
    conditions: tuple[Condition, ...]

    def check(self, fields: Mapping[str, str], bucket: str) -> None:
        """Raises BadRequest "AccessDenied" (403). `fields` have lower-case names; `key` is as it will be stored."""
        values = {**fields, "bucket": bucket}
        for condition in self.conditions:
            if condition.kind != "content-length-range" and not _holds(condition, values.get(condition.field)):
                raise _refused(f"the condition {condition.kind} on ${condition.field} does not hold")
        allowed = {condition.field for condition in self.conditions}
        for name in fields:
            if name not in allowed and name not in _FREE and not name.startswith("x-ignore-"):
                raise _refused(f"extra input field: {name[:64]} has no condition")

    @property
    def length_range(self) -> tuple[int, int] | None:
        """The narrowest of the content-length-range conditions, both ends included."""
        ranges = [(each.low, each.high) for each in self.conditions if each.kind == "content-length-range"]
        return (max(low for low, _ in ranges), min(high for _, high in ranges)) if ranges else None


def parse_form_claim(fields: Mapping[str, str]) -> ClaimedSignature:
    """The signature a form carries. Raises Unauthenticated for none, version 2, or one that does not parse."""
    missing = [name for name in FIELDS if name not in fields]
    if missing:
        if "awsaccesskeyid" in fields or "signature" in fields:
            raise Unauthenticated(
                "InvalidRequest", "the signature version is not supported; sign the policy with AWS4-HMAC-SHA256"
            )
        if len(missing) == len(FIELDS):
            raise Unauthenticated("AccessDenied", "the form is not signed", remedy="sign its policy with SigV4")
        raise Unauthenticated("InvalidArgument", f"the form also needs: {', '.join(missing)}")
    if fields["x-amz-algorithm"] != "AWS4-HMAC-SHA256":
        raise Unauthenticated("InvalidArgument", "x-amz-algorithm must be AWS4-HMAC-SHA256")
    if not re.fullmatch(r"[0-9a-f]{64}", fields["x-amz-signature"]):
        raise Unauthenticated("SignatureDoesNotMatch", "x-amz-signature must be 64 lower-case hex digits")
    if len(fields["policy"]) > MAX_POLICY:
        raise Unauthenticated("InvalidArgument", f"the policy is longer than {MAX_POLICY} bytes")
    stamp = fields["x-amz-date"]
    key, date, region, service = parse_credential("InvalidArgument", fields["x-amz-credential"], stamp)
    return ClaimedSignature(
        key, date, region, service, stamp, parse_timestamp(stamp), (), fields["x-amz-signature"],
        fields.get("x-amz-security-token"), None,
    )  # fmt: skip


def parse_policy(text: str) -> PostPolicy:
    """The document of a verified policy. Raises BadRequest "InvalidPolicyDocument": anything S3 does not define."""
    try:
        document = json.loads(base64.b64decode(text, validate=True).decode("utf-8"), object_pairs_hook=_once)
    except (binascii.Error, ValueError, RecursionError):
        raise _invalid("it is not base64 of a JSON document") from None
    if not isinstance(document, dict) or set(document) != {"expiration", "conditions"}:
        raise _invalid("a policy has an expiration and conditions, and nothing else")
    expiration, conditions = document["expiration"], document["conditions"]
    if not isinstance(expiration, str) or not _EXPIRATION(expiration):
        raise _invalid("the expiration is not of the form 2026-01-02T03:04:05.000Z")
    if not isinstance(conditions, list):
        raise _invalid("conditions is a list")
    try:
        expires_at = dt.datetime.fromisoformat(expiration).timestamp()
    except ValueError:
        raise _invalid("the expiration is not a date") from None
    return PostPolicy(expires_at, tuple(each for item in conditions for each in _conditions(item)))


def _conditions(item: Any) -> list[Condition]:
    if isinstance(item, dict):
        if len(item) != 1 or not all(isinstance(value, str) for value in item.values()):
            raise _invalid("an exact condition is one field and its text")
        return [Condition("eq", name.lower(), value) for name, value in item.items()]
    if not isinstance(item, list) or len(item) != 3:
        raise _invalid("a condition is an object or a list of three")
    kind, field, value = item
    kind = kind.lower() if isinstance(kind, str) else ""
    if kind == "content-length-range":
        low, high = _length(field), _length(value)
        if low > high:
            raise _invalid("a content-length-range ends before it begins")
        return [Condition(kind, "", low=low, high=high)]
    if kind not in ("eq", "starts-with") or not isinstance(field, str) or not isinstance(value, str):
        raise _invalid("a condition is eq, starts-with or content-length-range")
    if not field.startswith("$") or len(field) < 2:
        raise _invalid("a condition names its field as $name")
    return [Condition(kind, field[1:].lower(), value)]


def _length(value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 15:
        return int(value)
    if type(value) is not int or not 0 <= value < 10**15:
        raise _invalid("a content-length-range holds two numbers of bytes")
    return value


def _holds(condition: Condition, value: str | None) -> bool:
    if value is None:
        return False
    if condition.kind == "eq":
        return value == condition.value
    if condition.field == "content-type":  # S3: every one of a list of types must begin so
        return all(each.strip().startswith(condition.value) for each in value.split(","))
    return value.startswith(condition.value)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A name that stands twice would mean one thing to us and another to whoever signed it."""
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError
    return dict(pairs)


def _invalid(why: str) -> BadRequest:
    return BadRequest("InvalidPolicyDocument", f"the content of the form does not meet the policy's rules: {why}")


def _refused(why: str) -> BadRequest:
    return BadRequest("AccessDenied", f"invalid according to policy: {why}", status=403)
