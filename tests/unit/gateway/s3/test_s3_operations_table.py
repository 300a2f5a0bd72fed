"""docs/spec/s3-subset.md names every operation of S3, and says "yes" to exactly those that have an action."""

import re

import botocore.session

from gateway.s3.actions import _COPIES, _TABLE
from tests.conftest import ROOT
from tests.unit.gateway.s3.test_s3_face import IMPLEMENTED

ROW = re.compile(r"^\| (\w+) \| (yes|no) \| (.*) \|$", re.MULTILINE)
FUNCTIONS = {action.__name__ for action in (*_TABLE.values(), *_COPIES.values())}


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def test_the_table_is_the_model() -> None:
    rows = {name: (answer, notes) for name, answer, notes in ROW.findall((ROOT / "docs/spec/s3-subset.md").read_text())}
    model = botocore.session.Session().get_service_model("s3")
    assert sorted(rows) == sorted(model.operation_names)
    said = {name for name, (answer, _) in rows.items() if answer == "yes"}
    assert said == IMPLEMENTED
    assert {snake(name) for name in said} == FUNCTIONS
    assert all(notes for answer, notes in rows.values() if answer == "no")
