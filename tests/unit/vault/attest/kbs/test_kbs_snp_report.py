"""An SNP report taken apart by the Rust crate `sev`, and put together again: the very bytes that were signed."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import ROOT, vectors_path
from tests.fakes.attest_kbs import sev_struct
from vault.attest.kbs.snp_report import report_bytes
from vault.errors import Refused

WRITTEN = json.loads((ROOT / "tests/vectors/kbs/sev_reports.json").read_text())["cases"]
TURIN, V2, V5 = (WRITTEN[name] for name in ("turin-v3", "milan-v2", "turin-v5"))


def said(case: dict[str, str] = TURIN) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(case["struct"])
    return found


@pytest.mark.parametrize("name", sorted(WRITTEN))
def test_what_the_crate_wrote_gives_the_bytes_it_read(name: str) -> None:
    raw = base64.b64decode(WRITTEN[name]["report"])
    assert report_bytes(said(WRITTEN[name])) == raw
    assert sev_struct(raw) == said(WRITTEN[name])  # our fake of the crate is the crate


@pytest.mark.peers
def test_real_reports_come_back_to_the_byte() -> None:
    folder = vectors_path() / "attestation" / "snp"
    found = [raw for path in sorted(folder.rglob("*.bin")) if len(raw := path.read_bytes()) == 1184]
    if not found:
        pytest.skip("no attestation vectors here: DEMESNE_VECTORS names none")
    for raw in found:
        assert report_bytes(sev_struct(raw)) == raw


def test_a_field_that_may_be_absent_may_be() -> None:
    """serde reads a missing Option as null."""
    shorter = {name: value for name, value in said(V2).items() if value is not None}
    for tcb in ("current_tcb", "reported_tcb", "committed_tcb", "launch_tcb"):
        shorter[tcb] = {name: value for name, value in shorter[tcb].items() if name != "fmc"}
    assert report_bytes(shorter) == base64.b64decode(V2["report"])


def test_base64_of_the_bytes_is_taken_as_well() -> None:
    assert report_bytes(TURIN["report"]) == base64.b64decode(TURIN["report"])


def changing(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        *way, last = name.split(".")
        for step in way:
            document = document[step]
        if value is KeyError:
            del document[last]
        else:
            document[last] = value

    return change


@pytest.mark.parametrize(
    ("case", "change"),
    [
        (TURIN, changing("version", 2**32)),
        (TURIN, changing("version", True)),
        (TURIN, changing("policy", -1)),
        (TURIN, changing("policy", 2**64)),
        (TURIN, changing("policy", "196608")),
        (TURIN, changing("measurement", [0] * 47)),
        (TURIN, changing("measurement", [0] * 47 + [256])),
        (TURIN, changing("measurement", [0] * 47 + [True])),
        (TURIN, changing("measurement", "00" * 48)),
        (TURIN, changing("signature.r", KeyError)),
        (TURIN, changing("signature.more", 1)),
        (TURIN, changing("current.patch", 1)),
        (TURIN, changing("chip_id", KeyError)),
        (TURIN, changing("author", 1)),
        (TURIN, changing("reported_tcb.fmc", None)),  # one TCB in the order of another product
        (TURIN, changing("reported_tcb.snp", 256)),
        (TURIN, changing("cpuid_step", None)),
        (TURIN, changing("launch_mit_vector", 1)),  # not in a report of version 3
        (V2, changing("cpuid_fam_id", 25)),
        (V2, changing("reported_tcb.fmc", 3)),
        (V5, changing("current_mit_vector", None)),
    ],
)
def test_another_shape_is_refused(case: dict[str, str], change: Callable[[dict[str, Any]], None]) -> None:
    document = said(case)
    change(document)
    with pytest.raises(Refused) as caught:
        report_bytes(document)
    assert caught.value.reason == "attest.malformed"


@pytest.mark.parametrize(
    "value", [None, 1, [], {}, "", "AAAA", "not base64 at all", base64.b64encode(bytes(1183)).decode()]
)
def test_what_is_no_report_is_refused(value: object) -> None:
    with pytest.raises(Refused) as caught:
        report_bytes(value)
    assert caught.value.reason == "attest.malformed"
