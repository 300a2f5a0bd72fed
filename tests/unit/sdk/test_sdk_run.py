"""session.run: what is said, when, and what happens to the block when it cannot be said."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import demesne
from demesne.run import digests
from demesne.session import Session
from tests.fakes.api import FakeGateway
from tests.unit.sdk.sdk_world import attested, gateway_with_claims

MODEL = "s3://models/risk.bin"


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGateway]:
    for name in [name for name in os.environ if name.startswith(("AWS_", "DEMESNE_"))]:
        monkeypatch.delenv(name)
    with gateway_with_claims() as running:
        yield running


@pytest.fixture
def session(gateway: FakeGateway) -> Iterator[Session]:
    with attested(gateway, run="nightly") as running:
        yield running


def test_a_block_is_told_at_both_ends(gateway: FakeGateway, session: Session, tmp_path: Path) -> None:
    file = tmp_path / "risk.bin"
    with session.run("risk-v7", outputs=[MODEL], parents=["6" * 32], models={MODEL: file}) as run:
        assert len(gateway.statements) == 1
        file.write_bytes(b"weights")  # a training block writes what is hashed
        run.output("s3://models/log.txt")
        run.model("s3://models/other", b"more")
    assert run.statement_id
    (first_run, first), (last_run, last) = gateway.statements
    assert first_run == last_run == session.run_id
    assert first == {"name": "risk-v7", "status": "started", "outputs": [MODEL], "parents": ["6" * 32]}
    assert last["outputs"] == [MODEL, "s3://models/log.txt"]
    assert last["models"] == {
        MODEL: hashlib.sha256(b"weights").hexdigest(), "s3://models/other": hashlib.sha256(b"more").hexdigest(),
    }  # fmt: skip


def test_a_block_that_fails_is_told_so_and_its_error_stands(gateway: FakeGateway, session: Session) -> None:
    with pytest.raises(ZeroDivisionError), session.run(models={MODEL: "ab" * 32}):
        raise ZeroDivisionError
    assert [said["status"] for _, said in gateway.statements] == ["started", "failed"]
    assert "models" not in gateway.statements[1][1]


def test_a_gateway_that_is_away_does_not_hide_the_blocks_own_error(gateway: FakeGateway, session: Session) -> None:
    def work() -> None:
        with session.run("x"):
            gateway.hook_before = lambda _m, path: (503, "ServiceUnavailable") if "statements" in path else None
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as raised:
        work()
    gateway.hook_before = lambda _m, _p: None
    assert "was not told" in raised.value.__notes__[0]


def test_what_cannot_be_said_is_an_error_of_the_block(gateway: FakeGateway, session: Session) -> None:
    gateway.hook_before = lambda _m, path: (403, "AccessDenied") if "statements" in path else None
    with pytest.raises(demesne.Refused), session.run("x"):
        pytest.fail("the block must not begin unsaid")
    gateway.hook_before = lambda _m, _p: None


def test_digests_are_taken_or_refused(tmp_path: Path) -> None:
    assert digests({"a": "sha256:" + "cd" * 32, "b": b""}) == {"a": "cd" * 32, "b": hashlib.sha256(b"").hexdigest()}
    for wrong in ("not hex", tmp_path / "absent", "AB" * 32):
        with pytest.raises(demesne.Invalid, match=r"run\.model: a:"):
            digests({"a": wrong})


def test_a_closed_session_says_nothing_more(gateway: FakeGateway) -> None:
    session = attested(gateway)
    session.close()
    with pytest.raises(demesne.SessionClosed):
        session.run("x")
    assert gateway.statements == []
