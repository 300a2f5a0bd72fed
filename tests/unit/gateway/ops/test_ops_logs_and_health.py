"""Operation: logs that cannot hold data, metrics with closed labels, readiness that names what does not answer."""

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from gateway.ops.health import readiness
from gateway.ops.logs import configure_logs, only_allowed, without_traceback_values
from gateway.ops.metrics import Metrics
from gateway.ops.refusals import RefusalCounter
from tests.fakes.gateway_world import GatewayWorld

SECRET = "Ada Lovelace"


@pytest.fixture
def logs() -> Iterator[None]:
    root = logging.getLogger()
    kept, level = root.handlers[:], root.level
    structlog.reset_defaults()
    yield
    root.handlers[:], root.level = kept, level
    structlog.reset_defaults()


def fail(error: Exception) -> None:
    raise error from ValueError(SECRET)


def lines(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    out, err = capfd.readouterr()
    assert SECRET not in out + err
    return [json.loads(line) for line in err.splitlines()]


@pytest.mark.usefixtures("logs")
def test_a_field_nobody_decided_to_log_is_dropped_and_counted(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logs()
    structlog.get_logger().warning("happened", key=SECRET, row=[SECRET], reason="x.y", decision="a" * 32)
    (line,) = lines(capfd)
    assert (line["event"], line["reason"], line["decision"], line["count"]) == ("happened", "x.y", "a" * 32, 2)
    assert not {"key", "row"} & set(line)


@pytest.mark.usefixtures("logs")
def test_an_exception_is_its_type_and_place(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logs()
    try:
        fail(ValueError(SECRET))
    except ValueError:
        structlog.get_logger().exception("failed")
    (line,) = lines(capfd)
    assert line["exception_type"] == "ValueError"
    assert re.fullmatch(r".*test_ops_logs_and_health:\d+", line["where"])


@pytest.mark.usefixtures("logs")
def test_libraries_log_their_template_and_no_argument(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logs()
    try:
        fail(RuntimeError(SECRET))
    except RuntimeError:
        logging.getLogger("sqlalchemy").exception("row %s of %r", SECRET, {"name": SECRET})
    (line,) = lines(capfd)
    assert (line["event"], line["logger"], line["exception_type"]) == ("row %s of %r", "sqlalchemy", "RuntimeError")


@pytest.mark.usefixtures("logs")
def test_libraries_below_warning_are_silent(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logs()
    logging.getLogger("botocore").info("%s", SECRET)
    assert lines(capfd) == []


def test_an_exception_given_as_itself_or_as_a_triple() -> None:
    error = ValueError(SECRET)
    for given in (error, (ValueError, error, None)):
        event = without_traceback_values(None, "", {"event": "x", "exc_info": given})
        assert event == {"event": "x", "exception_type": "ValueError"}
    assert without_traceback_values(None, "", {"event": "x"}) == {"event": "x"}


def test_what_is_allowed_passes_untouched() -> None:
    assert only_allowed(None, "", {"event": "x", "count": 3}) == {"event": "x", "count": 3}


def test_metrics_have_closed_labels() -> None:
    metrics = Metrics()
    for plan in ("a" * 32, "b" * 32):
        metrics.read(plan, "complete", 5)
    metrics.read("raw", "aborted", 7)
    metrics.decided("read", True)
    metrics.unrecorded()
    shown = metrics.render().decode()
    assert 'demesne_bytes_sent_total{view="masked"} 10.0' in shown
    assert 'demesne_reads_total{status="aborted",view="raw"} 1.0' in shown
    assert "a" * 32 not in shown


def test_two_workers_in_one_process_count_for_themselves() -> None:
    one, other = Metrics(), Metrics()
    one.unrecorded()
    assert b"demesne_refused_unrecorded_total 0.0" in other.render()


def test_refusals_are_counted_and_taken_once() -> None:
    counter = RefusalCounter()
    for code in ("SignatureDoesNotMatch", "SignatureDoesNotMatch", "InvalidAccessKeyId"):
        counter.count(code, "10.0.0.1")
    assert counter.take() == {"SignatureDoesNotMatch": 2, "InvalidAccessKeyId": 1}
    assert counter.take() == {}


# --- readiness


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GatewayWorld]:
    made = GatewayWorld(tmp_path)
    yield made
    made.close()


def answered(world: GatewayWorld, **workers: str) -> tuple[bool, dict[str, Any]]:
    return readiness(world.new_facts(), world.doctrine, lambda: {"ledger": "ok", "broker": "ok"} | workers)()


def test_ready_when_every_part_answers(world: GatewayWorld) -> None:
    ready, document = answered(world)
    assert ready
    assert document["ready"] is True
    assert document["zone"] == {"state": "open", "reason": ""}
    assert document["doctrine"]["revision"] == world.doctrine.revision


@pytest.mark.parametrize("part", ["ledger", "broker"])
def test_a_worker_that_does_not_answer(world: GatewayWorld, part: str) -> None:
    ready, document = answered(world, **{part: "no answer"})
    assert not ready
    assert document[part] == {"state": "no answer"}


def test_a_closed_zone(world: GatewayWorld) -> None:
    world.open_zone("closed", "store.elsewhere")
    ready, document = answered(world)
    assert not ready
    assert document["zone"] == {"state": "closed", "reason": "store.elsewhere"}


def test_a_zone_row_that_was_edited(world: GatewayWorld) -> None:
    world.sql("update zone set state = 'open ', strength = 'attested'")
    ready, document = answered(world)
    assert not ready
    assert document["zone"] == {"state": "closed", "reason": "catalog.row-edited"}


def test_a_refused_bundle_shows_while_the_last_good_one_serves(world: GatewayWorld, tmp_path: Path) -> None:
    world.doctrine._bundle_dir = tmp_path / "nothing"
    assert not world.run(world.doctrine.reload())
    ready, document = answered(world)
    assert ready
    assert document["doctrine"]["refused"]["reason"]


def test_trust_files_are_shown_and_stop_nothing(world: GatewayWorld) -> None:
    def asked(states: dict[str, str]) -> tuple[bool, dict[str, Any]]:
        return readiness(world.new_facts(), world.doctrine, lambda: {"ledger": "ok", "broker": "ok"}, lambda: states)()

    ready, document = asked({"platforms": "present", "issuers": "missing"})
    assert (ready, document["trust"]["state"]) == (True, "ok")
    ready, document = asked({"platforms": "expired", "issuers": "missing"})
    assert (ready, document["trust"]) == (
        True, {"state": "degraded", "files": {"platforms": "expired", "issuers": "missing"}},
    )  # fmt: skip


def test_trust_files_have_their_gauges() -> None:
    metrics = Metrics()
    metrics.trusted({"platforms": "present"}, {"platforms": 1_780_000_000_000})
    metrics.trusted({"platforms": "expired"}, {"platforms": 1_780_000_000_000})
    text = metrics.render().decode()
    assert 'demesne_trust_file{file="platforms",state="expired"} 1.0' in text
    assert 'state="present"' not in text
    assert 'demesne_trust_expires_seconds{file="platforms"} 1.78e+09' in text
