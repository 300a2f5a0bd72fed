"""What the steps of the story share: zones, clients, canaries, and what earlier steps left behind."""

import io
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import s3fs
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

import demesne
from demesne.credentials import Credentials
from gateway.cli.demo.data import DemoInput
from gateway.cli.zones import DevZones

FRESHNESS_SECONDS = 8
GRACE_SECONDS = 2
DATASET = "claims"
PURPOSE = "claims-risk-model"


class StepFailed(Exception):
    """What a step found is not what the story says."""


def expect(condition: object, message: str) -> None:
    """Raise StepFailed unless `condition` holds."""
    if not condition:
        raise StepFailed(message)


@dataclass(frozen=True)
class Refusal:
    """A refusal as a client sees it."""

    status: int
    code: str
    message: str
    decision_id: str


@dataclass
class Stage:
    """One run of the story. Later steps use what earlier ones put here."""

    work_dir: Path
    zones: DevZones
    input: DemoInput
    ready: dict[str, Any]
    sessions: list[demesne.Session] = field(default_factory=list)
    trainer: Credentials | None = None
    raw_decision: str = ""
    model_key: str = "risk/model.joblib"

    @property
    def state_dir(self) -> Path:
        return self.work_dir / "state"

    def zone_dir(self, zone: str) -> Path:
        return self.state_dir / "zones" / zone

    def endpoint(self, zone: str, kind: str) -> str:
        found = next(z for z in self.ready["zones"] if z["name"] == zone)
        return str(found[f"{kind}_endpoint"])

    def credentials(self, who: str) -> Credentials:
        return Credentials(**self.ready["credentials"][who])

    def api(self, who: str | Credentials = "steward", zone: str = "de") -> demesne.Client:
        credentials = self.credentials(who) if isinstance(who, str) else who
        return demesne.Client(self.endpoint(zone, "api"), credentials, region=zone)

    def s3(self, who: str | Credentials, zone: str = "de") -> Any:
        """A plain boto3 client that does not retry: the story looks at single answers."""
        credentials = self.credentials(who) if isinstance(who, str) else who
        return boto3.client(
            "s3", endpoint_url=self.endpoint(zone, "s3"), region_name=zone,
            aws_access_key_id=credentials.access_key_id, aws_secret_access_key=credentials.secret_access_key,
            aws_session_token=credentials.session_token, config=Config(retries={"max_attempts": 0}),
        )  # fmt: skip

    def filesystem(self, who: str = "analyst") -> s3fs.S3FileSystem:
        credentials = self.credentials(who)
        return s3fs.S3FileSystem(
            key=credentials.access_key_id, secret=credentials.secret_access_key,
            endpoint_url=self.endpoint("de", "s3"), client_kwargs={"region_name": "de"}, skip_instance_cache=True,
        )  # fmt: skip

    def command(self, *arguments: str) -> dict[str, Any]:
        """Run `demesne … --json` against the embedded zones, as a person would."""
        program = Path(sys.executable).with_name("demesne")
        done = subprocess.run(
            [str(program), *arguments, "--json"], capture_output=True, text=True, check=False, timeout=300,
            env={"DEMESNE_READY_FILE": str(self.work_dir / "ready.json"), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
        )  # fmt: skip
        if done.returncode:
            why = done.stderr.strip()[-500:] or done.stdout[-500:]
            raise StepFailed(f"`demesne {' '.join(arguments)}` failed: {why}")
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def attest(
        self, *, purpose: str = PURPOSE, run: str | None = None, reattest: bool = True,
        scope: tuple[str, ...] = (DATASET,),
    ) -> demesne.Session:  # fmt: skip
        # The notice about sample evidence is shown once; it cannot be overlooked the first time.
        session = demesne.attest(
            self.endpoint("de", "api"), purpose=purpose, scope=scope, run=run, credentials=self.trainer,
            region="de", s3_endpoint=self.endpoint("de", "s3"), reattest=reattest,
            notice=io.StringIO() if self.sessions else None,
        )  # fmt: skip
        self.sessions.append(session)
        return session

    def catalog(self, zone: str = "de") -> sqlite3.Connection:
        """The catalog file itself, as somebody with the disk would open it."""
        return sqlite3.connect(self.zone_dir(zone) / "catalog.sqlite3", timeout=10)

    def wait_for_views(self, dataset: str = DATASET, seconds: float = 120.0) -> list[dict[str, Any]]:
        end = time.monotonic() + seconds
        with self.api() as api:
            while True:
                views = api.views(dataset)
                if views and all(view["state"] in {"ready", "failed"} for view in views):
                    return views
                if time.monotonic() > end:
                    raise StepFailed(f"views not ready: {views}")
                time.sleep(0.2)

    def entries(self, matches: Callable[[dict[str, Any]], bool], seconds: float = 6.0) -> dict[str, Any]:
        """The newest ledger entry that matches. Entries are published within a second of being durable."""
        end = time.monotonic() + seconds
        with self.api() as api:
            while True:
                for entry in api.decisions(limit=200):
                    if matches(entry):
                        return entry
                if time.monotonic() > end:
                    raise StepFailed("the ledger shows no such entry")
                time.sleep(0.2)

    def on_record(self, refusal: Refusal) -> dict[str, Any]:
        """The refusal's own entry in the ledger."""
        return self.entries(lambda entry: entry.get("id") == refusal.decision_id)

    def close(self) -> None:
        for session in self.sessions:
            try:
                session.close()
            except demesne.DemesneError:
                continue  # the zones may be gone already; sessions end by themselves


def refused(call: Callable[[], Any]) -> Refusal:
    """What `call` is refused with. Raises StepFailed when it is not refused."""
    try:
        call()
    except ClientError as error:
        meta = error.response["ResponseMetadata"]
        found = error.response.get("Error", {})
        return Refusal(
            int(meta["HTTPStatusCode"]), str(found.get("Code", "")), str(found.get("Message", "")),
            meta["HTTPHeaders"].get("x-demesne-decision", ""),
        )  # fmt: skip
    except demesne.DemesneError as error:
        return Refusal(error.status or 0, error.code, str(error), error.decision_id or "")
    except BotoCoreError as error:
        return Refusal(0, type(error).__name__, str(error), "")
    raise StepFailed("this was answered, and must be refused")


def told(refusal: Refusal) -> str:
    return f"{refusal.status} {refusal.code}: {refusal.message}"
