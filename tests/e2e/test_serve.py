"""`demesne serve` as an operator runs it: TLS, two workers, a renewed certificate, a killed worker, a drained stop."""

import hashlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

import demesne
from demesne.credentials import Credentials
from tests.e2e.deployment import ONCE
from tests.e2e.test_dev_lifecycle import descendants
from tests.e2e.world import connect, until, work_dir

SIZE = 24 << 20  # above what the sockets of both ends hold: an answer that is not read stays under way
START_SECONDS = 60.0
AUTHORITY = trustme.CA()
pytestmark = pytest.mark.timeout(180)


def renew(directory: Path, name: str) -> None:
    """Both files replaced one after the other, as a renewal does it."""
    leaf = AUTHORITY.issue_cert("localhost", "127.0.0.1", common_name=name)
    for file, blob in (("key.pem", leaf.private_key_pem), ("cert.pem", leaf.cert_chain_pems[0])):
        draft = directory / f"{file}.new"
        blob.write_to_path(str(draft))
        draft.replace(directory / file)


@dataclass
class Serving:
    """A running `demesne serve`."""

    process: "subprocess.Popen[str]"
    directory: Path
    ready: dict[str, Any]

    @property
    def ca(self) -> str:
        return str(self.directory / "ca.pem")

    @property
    def credentials(self) -> Credentials:
        document = json.loads((self.directory / "state" / "zones" / "de" / "credentials.json").read_text())
        return Credentials(**document["steward"])

    def s3(self) -> Any:
        keys = self.credentials
        return connect(
            "s3", endpoint_url=self.ready["s3_endpoint"], region_name="de", verify=self.ca, config=ONCE,
            aws_access_key_id=keys.access_key_id, aws_secret_access_key=keys.secret_access_key,
        )  # fmt: skip

    def shown(self) -> str:
        """Common name of the certificate a new connection is shown."""
        host, _, port = self.ready["s3_endpoint"].removeprefix("https://").partition(":")
        context = ssl.create_default_context(cafile=self.ca)
        with socket.create_connection((host, int(port)), 5) as raw, context.wrap_socket(
            raw, server_hostname="localhost"
        ) as wrapped:
            assert wrapped.version() == "TLSv1.3"
            certificate: Any = wrapped.getpeercert()
        return str(dict(part[0] for part in certificate["subject"])["commonName"])

    def fronts(self) -> set[int]:
        return {
            pid for pid in descendants(self.process.pid)
            if b"\0front\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
        }  # fmt: skip


@contextmanager
def serving(directory: Path, *options: str, **more: str) -> Iterator[Serving]:
    AUTHORITY.cert_pem.write_to_path(str(directory / "ca.pem"))
    renew(directory, "first")
    environment = {
        "PATH": os.environ["PATH"], "DEMESNE_ZONE": "de", "DEMESNE_JURISDICTION": "de",
        "DEMESNE_STATE_DIR": str(directory / "state"), "DEMESNE_S3_PORT": "0", "DEMESNE_API_PORT": "0",
        "DEMESNE_TLS_CERT": str(directory / "cert.pem"), "DEMESNE_TLS_KEY": str(directory / "key.pem"),
        # Of a shared machine; 50 ms for a decision may pass unused.
        "DEMESNE_DECISION_TIMEOUT_MS": "2000", **more,
    }  # fmt: skip
    command = [str(Path(sys.executable).with_name("demesne")), "serve", "--json", *options]
    with (directory / "serve.err").open("w") as errors, subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=directory
    ) as process:
        try:
            assert process.stdout is not None
            timer = threading.Timer(START_SECONDS, process.kill)
            timer.start()
            lines: list[str] = []
            while not lines or lines[-1].rstrip() != "}":  # one indented document
                line = process.stdout.readline()
                assert line, (directory / "serve.err").read_text()
                lines.append(line)
            timer.cancel()
            yield Serving(process, directory, json.loads("".join(lines)))
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(60)


@pytest.fixture(scope="module")
def zone() -> Iterator[Serving]:
    with work_dir("serve") as directory, serving(directory, "--workers", "2") as running:
        with demesne.Client(
            running.ready["api_endpoint"], running.credentials, region="de", ca=Path(running.ca)
        ) as api:
            api.create_dataset("open", label="none")
        body = os.urandom(SIZE)
        (directory / "sha256").write_text(hashlib.sha256(body).hexdigest())
        running.s3().put_object(Bucket="open", Key="large", Body=body)
        yield running


def test_a_renewed_certificate_reaches_new_connections_and_spares_the_streams(zone: Serving) -> None:
    streams = [zone.s3().get_object(Bucket="open", Key="large")["Body"] for _ in range(4)]
    hashes = [hashlib.sha256(stream.read(1 << 20)) for stream in streams]
    before = zone.shown()  # tests run in any order
    assert before != "second"
    renew(zone.directory, "second")
    zone.process.send_signal(signal.SIGHUP)
    until(lambda: {zone.shown() for _ in range(6)}, 10, f"{before} is still shown", lambda shown: shown == {"second"})
    for stream, digest in zip(streams, hashes, strict=True):
        for piece in stream.iter_chunks(1 << 20):
            digest.update(piece)
        assert digest.hexdigest() == (zone.directory / "sha256").read_text()
    assert zone.s3().head_object(Bucket="open", Key="large")["ContentLength"] == SIZE


def test_a_renewal_is_noticed_without_a_signal_and_a_broken_one_is_not_shown(zone: Serving) -> None:
    before = zone.shown()
    (zone.directory / "key.pem").write_text("half a k")
    time.sleep(2.5)
    assert {zone.shown() for _ in range(4)} == {before}
    renew(zone.directory, "third")
    until(lambda: {zone.shown() for _ in range(6)}, 10, "not noticed", lambda shown: shown == {"third"})


def test_a_killed_worker_comes_back_while_the_other_serves(zone: Serving) -> None:
    [victim, _] = sorted(zone.fronts())
    os.kill(victim, signal.SIGKILL)
    assert zone.s3().head_object(Bucket="open", Key="large")["ContentLength"] == SIZE
    until(lambda: len(zone.fronts()), 20, "the worker was not started again", lambda count: count == 2)
    assert "front-" in (zone.directory / "serve.err").read_text()


def test_a_second_serve_on_one_state_is_told(zone: Serving) -> None:
    environment = {
        "DEMESNE_ZONE": "de", "DEMESNE_JURISDICTION": "de", "DEMESNE_STATE_DIR": str(zone.directory / "state"),
        "DEMESNE_S3_PORT": "0", "DEMESNE_API_PORT": "0", "PATH": os.environ["PATH"],
    }  # fmt: skip
    command = [str(Path(sys.executable).with_name("demesne")), "serve"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "DEMESNE_STATE_DIR of its own" in done.stderr


def test_what_is_under_way_ends_well_after_sigterm_and_nothing_new_is_taken() -> None:
    with work_dir("drain") as directory, serving(directory) as running:
        with demesne.Client(
            running.ready["api_endpoint"], running.credentials, region="de", ca=Path(running.ca)
        ) as api:
            api.create_dataset("open", label="none")
        body = os.urandom(SIZE)
        s3 = running.s3()
        s3.put_object(Bucket="open", Key="large", Body=body)
        stream = running.s3().get_object(Bucket="open", Key="large")["Body"]
        got = stream.read(1 << 20)
        processes = descendants(running.process.pid)
        running.process.terminate()
        time.sleep(1.0)
        assert running.process.poll() is None
        with pytest.raises(Exception, match=r"connect|refused|closed"):
            running.s3().head_object(Bucket="open", Key="large")
        assert got + stream.read() == body
        assert running.process.wait(30) == 0
        assert not [pid for pid in processes if Path(f"/proc/{pid}").exists()]


def test_the_budget_for_that_ends(tmp_path: Path) -> None:
    with work_dir("budget") as directory, serving(directory, DEMESNE_DRAIN_SECONDS="1") as running:
        with demesne.Client(
            running.ready["api_endpoint"], running.credentials, region="de", ca=Path(running.ca)
        ) as api:
            api.create_dataset("open", label="none")
        running.s3().put_object(Bucket="open", Key="large", Body=os.urandom(SIZE))
        stream = running.s3().get_object(Bucket="open", Key="large")["Body"]
        stream.read(1 << 20)
        running.process.terminate()
        began = time.monotonic()
        assert running.process.wait(30) == 0
        assert time.monotonic() - began < 15
        with pytest.raises(Exception, match=r"(?i)incomplete|broken|reset|read"):  # aborted, never ended as if whole
            stream.read()
