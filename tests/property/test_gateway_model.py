"""The real front and an executable model of S3, side by side: each request goes to both, each answer must be the same.

Real: S3 dialect, guard, doctrine, vault, broker, catalog in SQLite, files store, ledger on disk. Model: `tests/fakes/
guard.py` behind the same dialect. Version and upload ids are random on both sides: they are compared by when they first
appeared. Between requests the real zone is closed and opened again, and swept.

DEMESNE_MODEL_STEPS and DEMESNE_MODEL_EXAMPLES make it longer (`make model`).
"""

import asyncio
import base64
import hashlib
import os
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.identity.errors import Unauthenticated
from gateway.identity.lookup import SecretKey
from gateway.identity.principal import Principal
from gateway.identity.sigv4 import Verifier
from gateway.s3.router import S3App
from tests.fakes.guard import FakeGuard
from tests.fakes.s3_client import Response, call, quoted, signed
from tests.fault.crash.world import CrashWorld

REGION = "de"
PEOPLE = {"DSTASTEWARD": "steward", "DSTAANALYST": "analyst"}
SECRET = "a secret of the tests that nobody else has"
BUCKETS = ("open-data", "versioned")
KEYS = ("a", "a/b", "a/b/c", "b", "ü/é", "a b+c%2F", "a~")
BODIES = (b"", b"x", b"hello, world", bytes(range(256)) * 200)
RANGES = ("bytes=0-0", "bytes=5-", "bytes=-3", "bytes=2-4000000", "bytes=99999999-", "bytes=3-1")
SHOWN = ("etag", "content-length", "content-range", "content-type", "accept-ranges", "x-amz-delete-marker",
         "x-amz-version-id", "x-amz-copy-source-version-id", "x-amz-tagging-count", "x-amz-meta-n")  # fmt: skip
_RANDOM = re.compile(r"[0-9a-f]{32}(?![0-9a-f])")
_TIMES = re.compile(r"<(LastModified|Initiated)>[^<]*</")
_OURS = re.compile(r"<(RequestId|HostId|Message|Resource|ID|DisplayName|StorageClass)>[^<]*</|<Owner>.*?</Owner>")


class TwoPeople:
    def __init__(self, principals: dict[str, Principal]) -> None:
        self._principals = principals

    async def lookup(self, access_key_id: str, security_token: str | None) -> SecretKey:
        if access_key_id not in self._principals or security_token is not None:
            raise Unauthenticated("InvalidAccessKeyId", "unknown")
        return SecretKey(SECRET, self._principals[access_key_id])


class Ids:
    """Names of random ids by order of appearance: `seen` of one side means the same as `seen` of the other."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}
        self.back: dict[str, str] = {}

    def name(self, random: str) -> str:
        if random not in self.known:
            self.known[random] = f"#{len(self.known)}"
            self.back[self.known[random]] = random
        return self.known[random]


class Side:
    def __init__(self, guard: Any, principals: dict[str, Principal]) -> None:
        verifier = Verifier(TwoPeople(principals), region=REGION, clock=time.time)
        self.app = S3App(guard, verifier.authenticate, zone="de", region=REGION)
        self.ids = Ids()

    def answer(self, found: Response, etags: set[str]) -> tuple[Any, ...]:
        """What a client may rely on, with random names replaced. ETags are no random names."""
        headers = {name: found.headers[name] for name in SHOWN if name in found.headers}
        if "x-amz-version-id" in headers and headers["x-amz-version-id"] != "null":
            headers["x-amz-version-id"] = self.ids.name(headers["x-amz-version-id"])
        body: Any = found.body
        if found.status >= 400:
            return found.status, headers.get("x-amz-delete-marker"), found.code
        if found.headers.get("content-type", "").startswith("application/xml"):
            text = _OURS.sub("", _TIMES.sub(r"<\1></", found.body.decode()))
            body = _RANDOM.sub(lambda m: m[0] if m[0] in etags else self.ids.name(m[0]), text)
            headers.pop("content-length", None)
        return found.status, headers, body


class GatewayAndModel(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.directory = tempfile.TemporaryDirectory(prefix="model-")
        self.world = CrashWorld(Path(self.directory.name))
        self.model_guard = FakeGuard(REGION)
        self.model_guard.view = "open"
        for name in BUCKETS:
            self.model_guard.create(name, tenant="main", versioning="enabled" if name == "versioned" else "off")
        principals = {key: getattr(self.world, name) for key, name in PEOPLE.items()}
        self.model = Side(self.model_guard, principals)
        self.real = Side(self.world.front, principals)
        self.etags: set[str] = set()
        self.versions: list[tuple[str, str, str]] = []  # bucket, key, name of the id
        self.last: tuple[Any, ...] = ()

    def both(
        self, method: str, path: str, *, body: bytes = b"", by: str = "DSTASTEWARD",
        headers: tuple[tuple[str, str], ...] = (), ids: tuple[str, ...] = (),
    ) -> tuple[Any, ...]:  # fmt: skip
        """`ids`: names of ids that stand as {0}, {1} in the path."""
        answers = []
        for side, run in ((self.real, self.world.run), (self.model, asyncio.run)):
            target = path.format(*(side.ids.back[name] for name in ids)) if ids else path
            request = signed(method, target, body=body, headers=headers, key=by, secret=SECRET, region=REGION)
            found = run(call(side.app, request))
            assert found.error is None, found.error
            if found.headers.get("etag"):
                self.etags.add(found.headers["etag"].strip('"').partition("-")[0])
            answers.append(side.answer(found, self.etags))
        real, model = answers
        assert real == model, f"{method} {path} {headers}:\nreal  {real}\nmodel {model}"
        self.last = real
        return real

    bucket = st.sampled_from(BUCKETS)
    key = st.sampled_from(KEYS)
    person = st.sampled_from(sorted(PEOPLE))

    @rule(bucket=bucket, key=key, body=st.sampled_from(BODIES), note=st.sampled_from(["", "1", "ü"]))
    def put(self, bucket: str, key: str, body: bytes, note: str) -> None:
        headers = (("x-amz-meta-n", note.encode().decode("latin-1")),) if note == "1" else ()
        status, shown, _ = self.both("PUT", f"/{bucket}/{quoted(key)}", body=body, headers=headers)
        if status == 200 and "x-amz-version-id" in shown:
            self.versions.append((bucket, key, shown["x-amz-version-id"]))

    @rule(bucket=bucket, key=key, body=st.sampled_from(BODIES), condition=st.sampled_from(["none", "match", "other"]))
    def put_on_condition(self, bucket: str, key: str, body: bytes, condition: str) -> None:
        headers = {"none": ("if-none-match", "*"), "match": ("if-match", f'"{_md5(BODIES[2])}"'),
                   "other": ("if-match", '"0"')}[condition]  # fmt: skip
        self.both("PUT", f"/{bucket}/{quoted(key)}", body=body, headers=(headers,))

    @rule(bucket=bucket, key=key, by=person, method=st.sampled_from(["GET", "HEAD"]))
    def get(self, bucket: str, key: str, by: str, method: str) -> None:
        self.both(method, f"/{bucket}/{quoted(key)}", by=by)

    @rule(bucket=bucket, key=key, by=person, span=st.sampled_from(RANGES))
    def get_range(self, bucket: str, key: str, by: str, span: str) -> None:
        self.both("GET", f"/{bucket}/{quoted(key)}", by=by, headers=(("range", span),))

    @rule(bucket=bucket, key=key)
    def delete(self, bucket: str, key: str) -> None:
        self.both("DELETE", f"/{bucket}/{quoted(key)}")

    @precondition(lambda self: bool(self.versions))
    @rule(data=st.data(), method=st.sampled_from(["GET", "HEAD", "DELETE"]))
    def one_version(self, data: st.DataObject, method: str) -> None:
        bucket, key, name = data.draw(st.sampled_from(self.versions))
        if name == "null":
            self.both(method, f"/{bucket}/{quoted(key)}?versionId=null")
        else:
            self.both(method, f"/{bucket}/{_literal(quoted(key))}?versionId={{0}}", ids=(name,))

    @rule(bucket=bucket, source=key, key=key)
    def copy(self, bucket: str, source: str, key: str) -> None:
        _, shown, _ = self.both("HEAD", f"/{bucket}/{quoted(source)}")
        # A copy is a manifest over the same bodies and keeps a composite ETag; S3 would give it one of a whole object.
        composite = isinstance(shown, dict) and "-" in shown.get("etag", "")
        if source != key and not composite:
            self.both(
                "PUT", f"/{bucket}/{quoted(key)}", headers=(("x-amz-copy-source", f"/{bucket}/{quoted(source)}"),)
            )

    @rule(bucket=bucket, key=key, value=st.sampled_from(["1", "ü", ""]))
    def tag(self, bucket: str, key: str, value: str) -> None:
        body = f"<Tagging><TagSet><Tag><Key>n</Key><Value>{value}</Value></Tag></TagSet></Tagging>".encode()
        self.both("PUT", f"/{bucket}/{quoted(key)}?tagging", body=body, headers=(("content-md5", _base64_md5(body)),))
        self.both("GET", f"/{bucket}/{quoted(key)}?tagging")

    @rule(state=st.sampled_from(["Enabled", "Suspended"]))
    def versioning(self, state: str) -> None:
        body = f"<VersioningConfiguration><Status>{state}</Status></VersioningConfiguration>".encode()
        self.both("PUT", "/versioned?versioning", body=body)
        self.both("GET", "/versioned?versioning")

    @rule(bucket=bucket, key=key, body=st.sampled_from(BODIES), end=st.sampled_from(["complete", "abort"]))
    def multipart(self, bucket: str, key: str, body: bytes, end: str) -> None:
        self.both("POST", f"/{bucket}/{quoted(key)}?uploads")
        name = self.last[2].partition("<UploadId>")[2].partition("</UploadId>")[0]
        where = f"/{bucket}/{_literal(quoted(key))}"
        self.both("PUT", f"{where}?partNumber=1&uploadId={{0}}", body=body, ids=(name,))
        self.both("GET", f"{where}?uploadId={{0}}", ids=(name,))
        if end == "abort":
            self.both("DELETE", f"{where}?uploadId={{0}}", ids=(name,))
            return
        listed = (
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>"
            f"<ETag>{_md5(body)}</ETag></Part></CompleteMultipartUpload>"
        )
        self.both("POST", f"{where}?uploadId={{0}}", body=listed.encode(), ids=(name,))

    @rule(bucket=bucket, prefix=st.sampled_from(["", "a", "a/", "ü", "z"]), delimiter=st.sampled_from(["", "/"]),
          limit=st.sampled_from([1, 2, 1000]), after=st.sampled_from(["", "a", "a/b"]))  # fmt: skip
    def list_pages(self, bucket: str, prefix: str, delimiter: str, limit: int, after: str) -> None:
        query = f"list-type=2&prefix={quoted(prefix)}&max-keys={limit}&start-after={quoted(after)}"
        if delimiter:
            query += "&delimiter=%2F"
        self.both("GET", f"/{bucket}?{query}")

    @rule(limit=st.sampled_from([2, 1000]), bucket=bucket)
    def list_versions(self, limit: int, bucket: str) -> None:
        self.both("GET", f"/{bucket}?versions&max-keys={limit}")

    @rule()
    def closed_and_opened_again(self) -> None:
        self.world.close()
        self.world = CrashWorld(Path(self.directory.name))
        principals = {key: getattr(self.world, name) for key, name in PEOPLE.items()}
        ids = self.real.ids
        self.real = Side(self.world.front, principals)
        self.real.ids = ids

    @rule()
    def swept(self) -> None:
        self.world.later(3_600_001)
        while self.world.vault.sweep() == 100:
            pass
        self.world.ledger.flush()

    @invariant()
    def nothing_but_what_is_listed_is_there(self) -> None:
        if self.last:
            for bucket in BUCKETS:
                self.both("GET", f"/{bucket}?list-type=2")

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.close()
            self.directory.cleanup()


def _literal(path: str) -> str:
    return path.replace("{", "{{").replace("}", "}}")


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _base64_md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


GatewayAndModel.TestCase.settings = settings(
    max_examples=int(os.environ.get("DEMESNE_MODEL_EXAMPLES", "5")),
    stateful_step_count=int(os.environ.get("DEMESNE_MODEL_STEPS", "20")),
    deadline=None, suppress_health_check=list(HealthCheck), print_blob=True,
)  # fmt: skip
TestGatewayAndModel = pytest.mark.timeout(1800)(GatewayAndModel.TestCase)
