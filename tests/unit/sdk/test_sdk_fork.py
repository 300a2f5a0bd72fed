"""Data-loader workers: forked and spawned children use the parent's session, end nothing, and hear when it is gone."""

import io
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

import demesne
from demesne.errors import from_s3
from demesne.session import Session
from tests.fakes.api import FakeGateway, wait_until
from tests.unit.sdk.sdk_world import attested, gateway_with_claims

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGateway]:
    for name in [name for name in os.environ if name.startswith(("AWS_", "DEMESNE_"))]:
        monkeypatch.delenv(name)
    with gateway_with_claims() as running:
        yield running


@pytest.fixture
def session(gateway: FakeGateway) -> Iterator[Session]:
    running = attested(gateway)
    yield running
    running.close()


def in_fork(work: Callable[[], object]) -> str:
    """What `work` returned in a forked child, or its error, as text. The child never returns into pytest."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # a child that hangs says nothing
        try:
            said = str(work())
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        finally:
            os.write(writing, said.encode()[:60000])
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        said = file.read()
    os.waitpid(child, 0)
    return said


def read_by_boto3(session: Any) -> int:
    return len(session.boto3().get_object(Bucket="claims", Key="part-0.parquet")["Body"].read())


def test_a_forked_child_reads_with_the_parents_session(gateway: FakeGateway, session: Session) -> None:
    size = len(gateway.objects["claims", "part-0.parquet"].body)
    assert in_fork(lambda: read_by_boto3(session)) == str(size)
    assert in_fork(lambda: session.credentials.access_key_id) == session.credentials.access_key_id
    assert set(gateway.identities) == {session.credentials.access_key_id}


def test_a_forked_child_gets_credentials_that_were_renewed_after_the_fork(
    gateway: FakeGateway, session: Session
) -> None:
    asked, answered = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.read(asked[0], 1)
        os.write(answered[1], session.credentials.access_key_id.encode())
        os._exit(0)
    before = session.credentials.access_key_id
    gateway.forget_sessions = True
    session.reattest()
    os.write(asked[1], b"x")
    assert os.read(answered[0], 100).decode() == session.credentials.access_key_id != before
    os.waitpid(child, 0)


def test_a_child_that_closes_ends_nothing_of_the_parent(gateway: FakeGateway) -> None:
    with attested(gateway) as session:

        def leave() -> bool:
            session.close()
            return "AWS_ENDPOINT_URL" in os.environ

        assert in_fork(leave) == "False"
        assert not gateway.sessions[session.session_id].revoked
        assert session.credentials.access_key_id
        assert read_by_boto3(session)


def test_a_child_cannot_attest_and_holds_no_key(session: Session) -> None:
    assert in_fork(session.reattest).startswith("SessionClosed: session.closed: this process was forked")
    assert in_fork(session._key.private_pem).startswith("SessionClosed")
    session.reattest()  # the parent still can


def test_locks_held_by_another_thread_at_the_fork_do_not_hang_the_child(session: Session) -> None:
    held, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with session._keeper._lock, session._keeper._attesting:
            held.set()
            go_on.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(5)
    try:
        assert in_fork(lambda: (session.session_id, session.run_id, session.env()) and "fine") == "fine"
    finally:
        go_on.set()
        thread.join()


def test_the_child_holds_no_socket_of_the_agent(session: Session) -> None:
    server = session._agent._server
    assert server is not None
    assert in_fork(server._listener.fileno) == "-1"
    assert server._listener.fileno() >= 0


PARENT = """
import io, os, sys, time
import demesne
session = demesne.attest({api!r}, purpose="p", scope=["claims"], region="de", notice=io.StringIO(),
    credentials={{"access_key_id": "AKTRAIN", "secret_access_key": "train-secret"}})
ready, go = os.pipe(), os.pipe()
if os.fork() == 0:
    client = session.boto3()
    os.write(ready[1], b"x")
    while os.getppid() == {pid_of_parent}:
        time.sleep(0.01)
    client.head_object(Bucket="claims", Key="part-0.parquet")  # what it holds is good until the gateway says no
    read = lambda: session.boto3().head_object(Bucket="claims", Key="part-0.parquet")
    files = lambda: session.filesystem().info("claims/part-0.parquet")
    arrow = lambda: session.pyarrow().get_file_info("claims/part-0.parquet")
    for ask in (lambda: session.credentials, read, files, arrow):
        try:
            ask()
        except Exception as error:
            found = demesne.errors.from_s3(error)
            print(type(found).__name__, found.code, "|", found.remedy, flush=True)
    os._exit(0)
os.read(ready[0], 1)
os.kill(os.getpid(), 9)
"""


def test_when_the_parent_dies_children_are_told_so(gateway: FakeGateway) -> None:
    code = PARENT.format(api=gateway.api_endpoint, pid_of_parent="parent").replace(
        "import io,", "import os; parent = os.getpid()\nimport io,"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    lines = done.stdout.splitlines()
    assert len(lines) == 4, done.stderr
    assert all(line.startswith("SessionClosed session.closed | attest again") for line in lines)


def _spawned(borrowed: Any, options: dict[str, Any], answer: Connection) -> None:
    import s3fs

    body = s3fs.S3FileSystem(**options).cat_file("claims/part-0.parquet")
    answer.send((type(borrowed).__name__, len(body), read_by_boto3(borrowed), borrowed.run_id))


def test_a_spawned_worker_gets_the_session_by_pickle(gateway: FakeGateway, session: Session) -> None:
    receiving, sending = multiprocessing.Pipe(duplex=False)
    spawn = multiprocessing.get_context("spawn")
    worker = spawn.Process(target=_spawned, args=(session, session.storage_options(), sending))
    worker.start()
    assert receiving.poll(60)
    size = len(gateway.objects["claims", "part-0.parquet"].body)
    assert receiving.recv() == ("Borrowed", size, size, session.run_id)
    worker.join()
    assert set(gateway.identities) == {session.credentials.access_key_id}


def test_two_sessions_never_share_a_cached_filesystem(gateway: FakeGateway, session: Session) -> None:
    import s3fs

    with attested(gateway, run="other") as other:
        first, second = (s3fs.S3FileSystem(**each.storage_options()) for each in (session, other))
        assert first is not second
        assert first is s3fs.S3FileSystem(**session.storage_options())
        for filesystem in (first, second):
            filesystem.cat_file("claims/part-0.parquet")
        keys = {session.credentials.access_key_id, other.credentials.access_key_id}
        assert set(gateway.identities) == keys


def test_nested_sessions_show_the_inner_one_and_end_in_any_order(
    gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKTRAIN")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "train-secret")
    monkeypatch.setenv("AWS_PROFILE", "mine")
    before = dict(os.environ)
    uri = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
    outer = attested(gateway, credentials=None)
    with outer:
        assert "AWS_ACCESS_KEY_ID" not in os.environ  # the principal's own key would win over the session
        inner = attested(gateway, credentials=None, run="inner")  # whose key is found none the less
        inner.__enter__()
        assert os.environ[uri] == inner.env()[uri]
    assert os.environ[uri] == inner.env()[uri]  # the outer one ended first
    assert "AWS_PROFILE" not in os.environ
    inner.close()
    assert dict(os.environ) == before


def test_after_closing_everything_says_so(gateway: FakeGateway) -> None:
    session = attested(gateway)
    client = session.boto3()
    client.head_object(Bucket="claims", Key="part-0.parquet")
    session.close()
    session.close()
    for ask in (session.env, session.boto3, session.filesystem, session.reattest, lambda: session.credentials):
        with pytest.raises(demesne.SessionClosed, match=r"session\.closed"):
            ask()
    with pytest.raises(Exception) as refused:
        client.get_object(Bucket="claims", Key="part-0.parquet")
    assert isinstance(from_s3(refused.value), demesne.Refused)


def test_an_agent_whose_session_was_forgotten_opens_a_successor(gateway: FakeGateway) -> None:
    gateway.fresh_seconds = 1
    with attested(gateway) as session:
        first = session.session_id
        gateway.forget_sessions = True
        wait_until(lambda: session.session_id != first)
        assert session.failure is None


def test_notice_is_not_printed_by_renewals(gateway: FakeGateway) -> None:
    said = io.StringIO()
    with attested(gateway, notice=said) as session:
        text = said.getvalue()
        gateway.forget_sessions = True
        session.reattest()
        assert said.getvalue() == text


EXITING = """
import io, demesne
session = demesne.attest({api!r}, purpose="p", scope=["claims"], region="de", notice=io.StringIO(),
    credentials={{"access_key_id": "AKTRAIN", "secret_access_key": "train-secret"}})
print(session.storage_options("polars")["aws_container_authorization_token_file"])
del session
"""


def test_a_program_that_just_ends_leaves_no_token_and_no_session(gateway: FakeGateway) -> None:
    code = EXITING.format(api=gateway.api_endpoint)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert not Path(done.stdout.strip()).parent.exists()
    (session,) = gateway.sessions.values()
    assert session.revoked
