"""A zone that admits the evidence of one made-up AMD chip, and a client of it that costs little.

The chip's maker is a root of development: what rests on it opens synthetic datasets only, but every check of a report
is made as for a real one. Keys have the sizes of AMD's: RSA-4096 above, P-384 for the chip.
"""

import asyncio
import base64
import hashlib
import http.client
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import rsa

from benchmarks.zone import Zone
from demesne import Client
from demesne._connection import Signer
from demesne._exchange import Answer, Ask, Exchange, ProveMachine, Step, run, run_async
from demesne._wire import Call
from demesne.credentials import Credentials
from demesne.errors import DemesneError
from demesne.session_key import SessionKey
from tests.fakes.attest_pki import Shape, issue
from tests.fakes.attest_snp import FakeAmd
from tests.fakes.attest_trust import FLOOR, TrustFiles

PURPOSE, DATASET = "claims-risk-model", "patients"
NOW = datetime.now(UTC)
DATES: dict[str, Any] = {"start": NOW - timedelta(30), "end": NOW + timedelta(30)}


class Chip:
    """One chip, whose reports say what they are told to."""

    def __init__(self) -> None:
        amd = FakeAmd(leaf_shape=Shape(**DATES))
        big = [rsa.generate_private_key(65537, 4096) for _ in range(2)]
        amd.root = issue(f"ARK-{amd.product}", big[0], None, Shape(ca=True, **DATES))
        amd.middle = issue(f"SEV-{amd.product}", big[1], amd.root, Shape(ca=True, path_length=0, **DATES))
        amd.leaf = amd.issue_leaf()
        self._amd = amd
        self._certificates = [base64.b64encode(der).decode() for der in amd.certificates]

    @property
    def maker(self) -> bytes:
        """PEM of its root and of who issued the chip's certificate."""
        return self._amd.root.pem + self._amd.middle.pem

    def evidence(self, report_data: bytes) -> dict[str, Any]:
        report = base64.b64encode(self._amd.report(report_data=report_data)).decode()
        return {"kind": "snp", "version": 1, "report": report, "certificates": self._certificates, "auxblob": ""}


def trusting(chip: Chip, directory: Path) -> None:
    """Trust files as an operator writes them."""
    files = TrustFiles(directory)
    files.write("platforms", issued=NOW - timedelta(1), expires=NOW + timedelta(30), snp={"products": {"Milan": FLOOR}})
    files.put("development-roots/amd-milan.pem", chip.maker)


@dataclass
class Job:
    """A principal that may attest for PURPOSE, and the chip it runs on."""

    endpoint: str
    region: str
    credentials: Credentials
    chip: Chip

    @cached_property
    def signer(self) -> Signer:
        return Signer(self.endpoint, lambda: self.credentials, region=self.region, service="demesne")

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.endpoint)
        return parts.hostname or "127.0.0.1", parts.port or 80

    def exchange(self, run_name: str) -> Exchange:
        return Exchange(key=SessionKey(), purpose=PURPOSE, scope=[DATASET], run=run_name)

    def prepared(self, call: Call) -> tuple[str, dict[str, str]]:
        """Path with query, and signed headers."""
        headers = {"content-type": "application/json"} if call.body else {}
        digest = hashlib.sha256(call.body).hexdigest()
        url, signed = self.signer.prepare(call.method, call.path, call.query, headers, digest)
        return url.raw_path.decode(), signed | {"content-length": str(len(call.body))}

    def prove(self, step: Step) -> Any:
        return self.chip.evidence(step.report_data) if isinstance(step, ProveMachine) else []


def job(zone: Zone, chip: Chip) -> Job:
    """Sets up the principal and its dataset, and waits until the zone admits the chip."""
    own = zone.ready["credentials"]["steward"]
    endpoint, region = zone.ready["api_endpoint"], zone.ready["region"]
    steward = Credentials(own["access_key_id"], own["secret_access_key"])
    trusting(chip, zone.state_dir / "zones" / region / "trust")
    with Client(endpoint, steward, region=region) as api:
        api.create_dataset(DATASET, synthetic=True)
        api.put_contract(DATASET, {
            "v": 1, "dataset": DATASET, "owner": "bench", "purposes": [PURPOSE], "keys_personal": False,
            "columns": [{"name": "name", "type": "string", "label": "pii.name", "finding": None}],
        })  # fmt: skip
        made = api.create_principal(
            "trainer", kind="workload", roles=["trainer"], jurisdiction=region, purposes=[PURPOSE], purpose=PURPOSE
        )
    found = Job(endpoint, region, Credentials(made["access_key_id"], made["secret_access_key"]), chip)
    until = time.monotonic() + 20
    while True:  # trust files are read again within seconds
        try:
            run(found.exchange("first").open(), Timed(found).carry_out)
        except DemesneError:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)
        else:
            return found


@dataclass
class Timed:
    """One connection. `gateway` are the seconds of each request: sending, the gateway's work, hearing."""

    job: Job
    gateway: list[float] = field(default_factory=list)

    @cached_property
    def _http(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(*self.job.address, timeout=60)

    def carry_out(self, step: Step) -> Any:
        if not isinstance(step, Ask):
            return self.job.prove(step)
        path, headers = self.job.prepared(step.call)
        began = time.perf_counter()
        self._http.request(step.call.method, path, step.call.body, headers)
        answer = self._http.getresponse()
        body = answer.read()
        self.gateway.append(time.perf_counter() - began)
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, body)

    def close(self) -> None:
        self._http.close()


class Crowd:
    """Many sessions, each with a connection of its own, in one thread."""

    def __init__(self, job: Job) -> None:
        self._job = job

    async def carry_out(self, step: Step) -> Any:
        if not isinstance(step, Ask):
            return self._job.prove(step)
        path, headers = self._job.prepared(step.call)
        lines = [f"{step.call.method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items()), "connection: close"]
        reader, writer = await asyncio.open_connection(*self._job.address)
        try:
            writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + step.call.body)
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        finally:
            writer.close()
        first, *rest = head.decode("latin-1").split("\r\n")
        found = dict(line.split(": ", 1) for line in rest)
        return Answer(int(first.split()[1]), {name.lower(): value for name, value in found.items()}, body)

    async def do(self, steps: Any) -> Any:
        return await run_async(steps, self.carry_out)
