"""Makes the bucket of DEMESNE_STORE_URL in the store's region, if it is not there."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
from botocore.exceptions import ClientError

from gateway.settings import Settings


def main() -> None:
    settings = Settings()
    url = urlsplit(settings.store_location)
    query = {name: values[-1] for name, values in parse_qs(url.query).items()}
    client: Any = boto3.client(
        "s3", endpoint_url=query["endpoint"], region_name=query["region"],
        aws_access_key_id=settings.store_access_key, aws_secret_access_key=settings.store_secret_key,
    )  # fmt: skip
    try:
        client.create_bucket(Bucket=url.netloc, CreateBucketConfiguration={"LocationConstraint": query["region"]})
    except ClientError as error:
        if error.response["Error"]["Code"] not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
            raise


if __name__ == "__main__":
    main()
