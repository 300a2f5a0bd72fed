"""Errors: the gateway's reason survives every S3 client, and process borders."""

import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

import demesne
from demesne import errors
from demesne.errors import DemesneError, from_s3
from tests.fakes.api import FakeGateway
from tests.unit.sdk.sdk_world import attested, gateway_with_claims

DECISION = "d" * 32
SENTENCE = f"No raw rows for this purpose. Rule: access.purpose. What to do: ask the steward. Decision: {DECISION}."
XML = {"Message": SENTENCE, "Rule": "access.purpose", "DecisionId": DECISION, "Remedy": "ask the steward"}


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGateway]:
    for name in [name for name in os.environ if name.startswith(("AWS_", "DEMESNE_"))]:
        monkeypatch.delenv(name)
    with gateway_with_claims() as running:
        yield running


def _boto3(session: Any) -> None:
    session.boto3().get_object(Bucket="claims", Key="part-0.parquet")


def _s3fs(session: Any) -> None:
    session.filesystem().cat_file("claims/part-0.parquet")


def _pandas(session: Any) -> None:
    import pandas as pd

    pd.read_parquet("s3://claims/part-0.parquet", storage_options=session.storage_options())


def _duckdb(session: Any) -> None:
    with session.duckdb() as connection:
        connection.sql("select * from read_parquet('s3://claims/part-0.parquet')").fetchall()


def _pyarrow(session: Any) -> None:
    session.pyarrow().get_file_info(__import__("pyarrow.fs").fs.FileSelector("claims"))


def _polars(session: Any) -> None:
    polars = pytest.importorskip("polars")
    options = session.storage_options("polars")
    polars.scan_parquet("s3://claims/part-0.parquet", storage_options=options, credential_provider=None).collect()


@pytest.mark.parametrize("read", [_boto3, _s3fs, _pandas, _duckdb, _pyarrow, _polars])
def test_a_refusal_keeps_rule_decision_and_remedy(gateway: FakeGateway, read: Callable[[Any], None]) -> None:
    with attested(gateway) as session:
        gateway.refusal = (403, "AccessDenied", XML)
        with pytest.raises(Exception) as raised:
            read(session)
    found = from_s3(raised.value)
    assert isinstance(found, demesne.Refused), raised.value
    assert found.__cause__ is raised.value
    assert found.remedy
    if read not in {_polars, _duckdb}:  # they ask by HEAD, whose refusal has no body, and keep no header
        assert (found.rule, found.decision_id) == ("access.purpose", DECISION)
    if read is _boto3:
        assert (found.remedy, found.message) == ("ask the steward", "No raw rows for this purpose.")


def test_head_has_no_body_and_headers_say_the_rule(gateway: FakeGateway) -> None:
    with attested(gateway) as session:
        gateway.refusal = (403, "AccessDenied", XML)
        with pytest.raises(ClientError) as raised:
            session.boto3().head_object(Bucket="claims", Key="part-0.parquet")
    found = from_s3(raised.value)
    assert (type(found), found.status, found.rule, found.decision_id) == (
        demesne.Refused, 403, "access.purpose", DECISION,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "ReattestationRequired", demesne.ReattestationRequired),
        (404, "NoSuchKey", demesne.NotFound),
        (412, "PreconditionFailed", demesne.Conflict),
        (400, "InvalidArgument", demesne.Invalid),
        (503, "SlowDown", demesne.Unavailable),
    ],
)
def test_kinds_follow_status_and_code(status: int, code: str, kind: type[DemesneError]) -> None:
    answer = {"Error": {"Code": code, "Message": "m."}, "ResponseMetadata": {"HTTPStatusCode": status}}
    found = from_s3(ClientError(answer, "GetObject"))  # type: ignore[arg-type]
    assert type(found) is kind
    assert (found.code, found.status) == (code, status)


def test_what_nothing_is_known_of_is_not_dressed_up() -> None:
    found = from_s3(ValueError("a column is missing"))
    assert (type(found), found.code, found.rule) == (demesne.Unavailable, "s3.client", None)
    assert "a column is missing" in str(found)


def test_an_absent_file_is_not_found(gateway: FakeGateway) -> None:
    with attested(gateway) as session:
        for ask in (session.filesystem().cat_file, session.pyarrow().open_input_file):
            with pytest.raises(FileNotFoundError) as raised:
                ask("claims/absent")
            assert isinstance(from_s3(raised.value), demesne.NotFound)


def test_ours_pass_through_even_when_wrapped() -> None:
    inner = demesne.Refused("AccessDenied", "no", rule="r")
    assert from_s3(inner) is inner
    outer = OSError("cannot read")
    outer.__cause__ = inner
    assert from_s3(outer) is inner


def test_a_chain_that_turns_in_a_circle_ends() -> None:
    first, second = OSError("a"), OSError("b")
    first.__cause__, second.__cause__ = second, first
    assert from_s3(first).code == "s3.client"


CLASSES = [
    found for found in vars(errors).values() if isinstance(found, type) and issubclass(found, DemesneError)
]  # fmt: skip


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_errors_cross_process_borders_whole(kind: type[DemesneError]) -> None:
    error = kind("c", "m", status=403, rule="r", decision_id="d", remedy="do", retry_after=2.5)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert vars(again) == vars(error)
    assert str(again) == str(error)


def test_every_error_has_its_line_in_the_documents() -> None:
    text = (Path(__file__).parents[3] / "docs" / "sdk.md").read_text(encoding="utf-8")
    assert {kind.__name__ for kind in CLASSES if f"`{kind.__name__}`" not in text} == set()
