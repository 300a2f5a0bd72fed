"""An S3 store's bucket itself: that it is there, and what it says about where it lies.

A store that knows its region says it (GetBucketLocation). SeaweedFS, and MinIO without a region, answer nothing: then
a tag of the bucket speaks, written once by whoever set the zone up, as the marker of a files store is. Both are
somebody's word, strength "self-reported", or "network" where the connection itself was held to key and range.
"""

import time
from collections.abc import Callable
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from vault.endpoint.address import Endpoint
from vault.errors import VaultError
from vault.store.exposure import Answered, Exposure, Replica, Versions, policy_is_public

LOCATION_TAG = "demesne-location"
_THERE_ALREADY = {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}
_LOOK_SECONDS = 0.5
_NOT_OFFERED = {"NotImplemented", "MethodNotAllowed", "405", "501"}
_EVERYBODY = ("/groups/global/AllUsers", "/groups/global/AuthenticatedUsers")
AnonymousRead = Callable[[str | None], bool]


def observed_location(client: Any, bucket: str, endpoint: Endpoint) -> str:
    """What the store answers, "" where it says nothing. Raises ClientError, BotoCoreError."""
    said = client.get_bucket_location(Bucket=bucket).get("LocationConstraint") or ""
    if said:
        return str(said)
    if _is_aws(endpoint):
        return "us-east-1"  # its name for having been asked before there were others
    return _tags(client, bucket).get(LOCATION_TAG, "")


def make_bucket(client: Any, bucket: str, region: str, vouched: str, endpoint: Endpoint, wait: float) -> None:
    """The bucket, in the store's region; `vouched` becomes its tag where the store itself says no location.

    Tries for `wait` seconds: a store that is started with the zone may answer last, and one that answers may
    still be looking for a place for its first bucket. Raises ClientError, BotoCoreError. A tag that is there stays:
    data does not move by a setting.
    """
    end = time.monotonic() + wait
    while True:
        try:
            _make(client, bucket, region)
            if not observed_location(client, bucket, endpoint):
                _tag(client, bucket, vouched)
        except (ClientError, BotoCoreError) as error:
            if _final(error) or time.monotonic() > end:
                raise
            time.sleep(_LOOK_SECONDS)
        else:
            return


def _make(client: Any, bucket: str, region: str) -> None:
    place = {} if region in {"", "us-east-1"} else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    try:
        client.create_bucket(Bucket=bucket, **place)
    except ClientError as error:
        if _code(error) not in _THERE_ALREADY:
            raise
        client.head_bucket(Bucket=bucket)  # "exists" may mean that it is somebody else's


def _tag(client: Any, bucket: str, vouched: str) -> None:
    tags = _tags(client, bucket) | {LOCATION_TAG: vouched}
    pairs = [{"Key": name, "Value": value} for name, value in tags.items()]
    client.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": pairs})


def _tags(client: Any, bucket: str) -> dict[str, str]:
    try:
        found = client.get_bucket_tagging(Bucket=bucket)["TagSet"]
    except ClientError as error:
        if _code(error) in {"NoSuchTagSet", "NoSuchTagSetError", "NotImplemented"}:
            return {}
        raise
    return {str(each["Key"]): str(each["Value"]) for each in found}


def bucket_exposure(client: Any, bucket: str, endpoint: Endpoint, anonymous: AnonymousRead) -> Exposure:
    """What the bucket says of replication, public access and versions. Raises ClientError, BotoCoreError, VaultError
    where it does not answer at all."""
    unasked: list[str] = []
    replication, replicas = _replication(client, bucket, endpoint, unasked)
    return Exposure(
        replication, _public(client, bucket, anonymous, unasked), _versions(client, bucket, unasked), replicas,
        tuple(unasked),
    )  # fmt: skip


def _replication(
    client: Any, bucket: str, endpoint: Endpoint, unasked: list[str]
) -> tuple[Answered, tuple[Replica, ...]]:
    try:
        rules = client.get_bucket_replication(Bucket=bucket)["ReplicationConfiguration"]["Rules"]
    except ClientError as error:
        if _code(error) == "ReplicationConfigurationNotFoundError":
            return "no", ()
        if _code(error) in _NOT_OFFERED:
            unasked.append("replication")
            return "no", ()
        return "unknown", ()
    # A rule that is switched off today is one call away from being on: it counts.
    targets = sorted({str(rule.get("Destination", {}).get("Bucket", "")) for rule in rules})
    return "yes", tuple(Replica(target, _lies_at(client, target, endpoint)) for target in targets)


def _lies_at(client: Any, target: str, endpoint: Endpoint) -> str:
    """The destination's own word where the same endpoint may be asked for it; else its name, for the directory."""
    if target.startswith("arn:aws:s3:::") and _is_aws(endpoint):
        try:
            return observed_location(client, target.removeprefix("arn:aws:s3:::"), endpoint)
        except (ClientError, BotoCoreError, VaultError):
            return target
    return target


def _public(client: Any, bucket: str, anonymous: AnonymousRead, unasked: list[str]) -> Answered:
    keys = client.list_objects_v2(Bucket=bucket, MaxKeys=1).get("Contents", ())
    if anonymous(str(keys[0]["Key"]) if keys else None):
        return "yes"
    blocked = _ask(
        lambda: client.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"], unasked,
        "public-access-block",
    )  # fmt: skip
    if blocked and all(blocked.get(name) for name in ("IgnorePublicAcls", "RestrictPublicBuckets")):
        return "no"
    status = _ask(
        lambda: client.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"], unasked, "policy-status"
    )  # fmt: skip
    policy = _ask(lambda: {"text": client.get_bucket_policy(Bucket=bucket)["Policy"]}, unasked, "policy")
    grants = _ask(lambda: {"all": client.get_bucket_acl(Bucket=bucket)["Grants"]}, unasked, "acl")
    granted = [str(each.get("Grantee", {}).get("URI", "")) for each in (grants or {}).get("all", ())]
    if (status or {}).get("IsPublic") or (policy and policy_is_public(policy["text"])):
        return "yes"
    return "yes" if any(uri.endswith(_EVERYBODY) for uri in granted) else "no"


def _ask(question: Callable[[], dict[str, Any]], unasked: list[str], name: str) -> dict[str, Any] | None:
    """The answer, None where there is none; what the store has no answer to is noted in `unasked`."""
    try:
        return question()
    except ClientError as error:
        # AWS says 404 NoSuch… for what was never set; anything else is an answer we did not get.
        if not _code(error).startswith("NoSuch"):
            unasked.append(name)
        return None


def _versions(client: Any, bucket: str, unasked: list[str]) -> Versions:
    try:
        status = client.get_bucket_versioning(Bucket=bucket).get("Status", "")
    except ClientError as error:
        if _code(error) in _NOT_OFFERED:
            unasked.append("versioning")
            return "not-offered"
        return "unknown"
    known: dict[str, Versions] = {"": "off", "Enabled": "kept", "Suspended": "suspended"}
    return known.get(str(status), "unknown")


def _is_aws(endpoint: Endpoint) -> bool:
    return f".{endpoint.host}".endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _final(error: Exception) -> bool:
    """Whether asking again cannot help: the store understood, and says no."""
    if not isinstance(error, ClientError):
        return False
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) in {400, 401, 403, 405, 501}
