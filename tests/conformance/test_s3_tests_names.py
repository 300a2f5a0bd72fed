"""The list of ceph/s3-tests names that is published: complete, by family, and the suite itself where it is at hand."""

import os
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.s3_tests import CORE, UNDISPUTED, names, node_ids, table

FAMILIES = {
    "atomic": 13, "auth": 5, "bucket_read": 4, "checksum": 11, "conditional_read_copy": 12, "conditional_write": 15,
    "copy": 11, "isolation": 1, "list_v1": 39, "list_v2": 39, "metadata": 6, "multi_delete": 4, "multipart": 17,
    "multipart_copy": 7, "object_attributes": 5, "object_basic": 14, "presigned": 6, "range": 6,
    "request_handling": 15, "tagging": 11, "versioning": 28,
}  # fmt: skip


def test_the_subset_is_the_one_that_is_published() -> None:
    core = [each for each in names() if not each.beyond]
    assert Counter(each.family for each in core) == FAMILIES
    assert len({each.name for each in core}) == len(core) == CORE
    assert sum(not each.disputed for each in core) == UNDISPUTED
    assert {each.family for each in names() if each.beyond} == {
        "beyond: POST form", "beyond: bucket create/delete", "beyond: conditional delete",
        "beyond: rest of the data plane",
    }  # fmt: skip


def test_both_counts_are_kept_apart() -> None:
    wanted = names()
    passed = {each.name for each in wanted if not each.disputed} - {"test_bucket_head"}
    figures = table(wanted, passed)
    assert figures["core"] == {"passed": UNDISPUTED - 1, "of": CORE}
    assert figures["undisputed"] == {"passed": UNDISPUTED - 1, "of": UNDISPUTED}
    assert {each["name"] for each in figures["failed"] if not each["disputed"]} == {"test_bucket_head"}


@pytest.mark.peers
def test_every_name_is_the_suites() -> None:
    suite = Path(os.environ.get("DEMESNE_S3_TESTS", "../s3-tests"))
    if not (suite / "s3tests" / "functional").is_dir():
        pytest.skip("ceph/s3-tests is not at hand (DEMESNE_S3_TESTS, ../s3-tests)")
    assert len(node_ids(suite, names())) == len({each.name for each in names()})
