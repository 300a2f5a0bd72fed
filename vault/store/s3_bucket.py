"""An S3 store's bucket itself: that it is there, and what it says about where it lies.

A store that knows its region says it (GetBucketLocation). SeaweedFS, and MinIO without a region, answer nothing: then
a tag of the bucket speaks, written once by whoever set the zone up, as the marker of a files store is. Both are
somebody's word, strength "self-reported".
"""

import time
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

LOCATION_TAG = "demesne-location"
_THERE_ALREADY = {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}
_LOOK_SECONDS = 0.5


def observed_location(client: Any, bucket: str, endpoint: str | None) -> str:
    """What the store answers, "" where it says nothing. Raises ClientError, BotoCoreError."""
    said = client.get_bucket_location(Bucket=bucket).get("LocationConstraint") or ""
    if said:
        return str(said)
    if _is_aws(endpoint):
        return "us-east-1"  # its name for having been asked before there were others
    return _tags(client, bucket).get(LOCATION_TAG, "")


def make_bucket(client: Any, bucket: str, region: str, vouched: str, endpoint: str | None, wait: float) -> None:
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


def _is_aws(endpoint: str | None) -> bool:
    host = urlsplit(endpoint).hostname or "" if endpoint else "amazonaws.com"
    return f".{host}".endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _final(error: Exception) -> bool:
    """Whether asking again cannot help: the store understood, and says no."""
    if not isinstance(error, ClientError):
        return False
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) in {400, 401, 403, 405, 501}
