"""How much of ceph/s3-tests passes: `make s3-tests SUITE=DIR`, DIR a checkout of the suite (nothing of it is ours).

    python -m benchmarks.s3_tests --suite DIR [--only FAMILY…] [--python PY] [--log FILE]

Starts a zone whose created buckets hold no personal data, makes the suite's users through the API, runs the names of
tests/conformance/s3_tests.txt in a virtual environment of their own, prints passed of each family, and leaves
benchmarks/out/s3_tests.json. Without a suite it says so in one line and exits 0.
"""

import argparse
import configparser
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from benchmarks.zone import publish
from gateway.cli.zones import DevOptions, DevZones

ROOT = Path(__file__).parents[1]
NAMES = ROOT / "tests" / "conformance" / "s3_tests.txt"
CORE, UNDISPUTED = 269, 249
TENANT = "main"
# What the suite's own requirements name and these tests import; tox and gevent are for its other runners.
REQUIREMENTS = ("boto3", "munch", "requests", "httplib2", "lxml", "isodate", "pytz", "PyYAML", "pytest")


@dataclass(frozen=True)
class Wanted:
    family: str
    name: str
    disputed: bool

    @property
    def beyond(self) -> bool:
        return self.family.startswith("beyond")


def names() -> list[Wanted]:
    """The tests that are run, in the order of the file."""
    found: list[Wanted] = []
    family = ""
    for line in NAMES.read_text().splitlines():
        if line.startswith("["):
            family = line[1:-1]
        elif line and not line.startswith("#"):
            name, _, mark = line.partition(" ")
            found.append(Wanted(family, name, mark == "disputed"))
    return found


def node_ids(suite: Path, wanted: list[Wanted]) -> dict[str, str]:
    """Test name -> pytest node id. A name the suite does not have is a mistake of ours, or another commit of it."""
    places: dict[str, str] = {}
    for file in sorted((suite / "s3tests" / "functional").glob("test_*.py")):
        for name in re.findall(r"^def (test_\w+)\(", file.read_text(), re.MULTILINE):
            places[name] = f"{file.relative_to(suite)}::{name}"
    missing = [each.name for each in wanted if each.name not in places]
    if missing:
        sys.exit(f"the suite in {suite} has no test named {', '.join(missing[:5])}; take commit 8f0ae7b")
    return {each.name: places[each.name] for each in wanted}


def doctrine(directory: Path) -> Path:
    """The shipped doctrine with one role changed: the suite's second user keeps buckets of its own and reads nobody's.

    Here the doctrine alone separates callers of one tenant; the suite expects owners to be separated.
    """
    copy = directory / "doctrine"
    shutil.copytree(ROOT / "policies", copy)
    file = next(copy.glob("data/access/*.json"))
    document = json.loads(file.read_text())
    document["roles"]["auditor"]["actions"] += [
        "list", "write", "complete", "delete", "create-dataset", "delete-dataset",
    ]  # fmt: skip
    file.write_text(json.dumps(document))
    return copy


def create_principal(ready: Mapping[str, Any], name: str, role: str, purpose: str) -> dict[str, str]:
    """POST /v1/principals as the steward. Answers access_key_id and secret_access_key."""
    own = ready["credentials"]["steward"]
    body = json.dumps(
        {"name": name, "kind": "service", "roles": [role], "jurisdiction": ready["zones"][0]["jurisdiction"],
         "purposes": [purpose], "purpose": purpose}
    ).encode()  # fmt: skip
    headers = {"content-type": "application/json", "x-amz-content-sha256": hashlib.sha256(body).hexdigest()}
    request = AWSRequest("POST", f"{ready['api_endpoint']}/v1/principals", data=body, headers=headers)
    credentials = Credentials(own["access_key_id"], own["secret_access_key"])
    SigV4Auth(credentials, "demesne", ready["region"]).add_auth(request)
    sent = urllib.request.Request(str(request.url), body, dict(request.headers.items()), method="POST")
    with urllib.request.urlopen(sent) as answer:
        made: dict[str, str] = json.load(answer)
    return made


def write_config(path: Path, ready: Mapping[str, Any]) -> None:
    """The suite's configuration: three users that exist, and sections of services that do not."""
    host, _, port = ready["s3_endpoint"].partition("://")[2].rpartition(":")
    users = {
        "s3 main": ready["credentials"]["steward"],
        "s3 alt": create_principal(ready, "suite-alt", "auditor", "audit"),
        "s3 tenant": create_principal(ready, "suite-tenant", "steward", "stewardship"),
    }
    config = configparser.RawConfigParser()
    config["DEFAULT"] = {"host": host, "port": port, "is_secure": "False", "ssl_verify": "False"}
    config["fixtures"] = {"bucket prefix": "suite-{random}-"}
    for section, keys in users.items():
        config[section] = {
            "access_key": keys["access_key_id"], "secret_key": keys["secret_access_key"],
            "display_name": TENANT, "user_id": TENANT, "email": "suite@example.org",  # the owner of all it makes
            "api_name": ready["region"], "tenant": TENANT,
        }  # fmt: skip
    for section in ("iam", "iam root", "iam alt root"):
        config[section] = {
            "access_key": "NONE", "secret_key": "none", "display_name": section, "user_id": section,
            "email": "suite@example.org",
        }  # fmt: skip
    with path.open("w") as file:
        config.write(file)


def environment(directory: Path) -> Path:
    """A virtual environment with what the suite imports. Answers its interpreter."""
    home = directory / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    python = home / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=True)
    return python


def run_suite(python: Path, suite: Path, nodes: Mapping[str, str], directory: Path, region: str, log: Path) -> set[str]:
    """Names that passed."""
    report = directory / "report.xml"
    with log.open("w") as out:
        subprocess.run(
            [str(python), "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", f"--junitxml={report}",
             *nodes.values()],
            cwd=suite, check=False, stdout=out, stderr=subprocess.STDOUT,
            env={**os.environ, "S3TEST_CONF": str(directory / "suite.conf"), "AWS_DEFAULT_REGION": region,
                 "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
    if not report.exists():
        sys.exit(f"the suite did not run; see {log}")
    cases = list(ET.parse(report).iter("testcase"))
    return {str(case.get("name")) for case in cases if not list(case.iterfind("*"))} - _troubled(cases)


def _troubled(cases: list[ET.Element]) -> set[str]:
    """A test counts as failed when its teardown failed, too."""
    return {str(case.get("name")) for case in cases if any(each.tag in ("failure", "error") for each in case)}


def table(wanted: list[Wanted], passed: set[str]) -> dict[str, Any]:
    families: dict[str, dict[str, int]] = {}
    for each in wanted:
        row = families.setdefault(each.family, {"passed": 0, "of": 0})
        row["of"] += 1
        row["passed"] += each.name in passed
    core = [each for each in wanted if not each.beyond]
    clear = [each for each in core if not each.disputed]
    return {
        "families": families,
        "core": {"passed": sum(each.name in passed for each in core), "of": len(core)},
        "undisputed": {"passed": sum(each.name in passed for each in clear), "of": len(clear)},
        "failed": [
            {"name": each.name, "family": each.family, "disputed": each.disputed}
            for each in wanted
            if each.name not in passed
        ],
    }


def show(figures: Mapping[str, Any]) -> None:
    for family, row in figures["families"].items():
        print(f"{family:32} {row['passed']:4} of {row['of']}")
    print(f"{'core':32} {figures['core']['passed']:4} of {figures['core']['of']}")
    print(f"{'core without the disputed':32} {figures['undisputed']['passed']:4} of {figures['undisputed']['of']}")
    for each in figures["failed"]:
        print(f"  failed: {each['family']}: {each['name']}{' (disputed)' if each['disputed'] else ''}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--suite", type=Path, help="a checkout of ceph/s3-tests at 8f0ae7b")
    parser.add_argument("--only", nargs="+", default=[], help="families to run; then nothing is published")
    parser.add_argument("--python", type=Path, help="an interpreter that has what the suite imports")
    parser.add_argument("--log", type=Path, help="where the suite's own output goes")
    given = parser.parse_args()
    if given.suite is None or not (given.suite / "s3tests" / "functional").is_dir():
        print("skipped: ceph/s3-tests (no suite there; make s3-tests SUITE=DIR with a checkout of commit 8f0ae7b)")
        return 0
    suite = given.suite.resolve()
    wanted = [each for each in names() if not given.only or each.family in given.only]
    nodes = node_ids(suite, wanted)
    with tempfile.TemporaryDirectory(prefix="dms-s3t-", dir="/tmp") as made:  # short: a socket's name holds 108 bytes
        directory = Path(made)
        python = given.python or environment(directory)
        running = DevZones(
            DevOptions(state_dir=directory / "state", zones=("de",), s3_port=0, api_port=0, created_buckets="open",
                       doctrine_dir=doctrine(directory), ready_file=directory / "ready.json")
        )  # fmt: skip
        running.start()
        try:
            ready = json.loads((directory / "ready.json").read_text())
            write_config(directory / "suite.conf", ready)
            log = given.log or directory / "suite.log"
            passed = run_suite(python, suite, nodes, directory, ready["region"], log)
        finally:
            running.stop()
    figures = table(wanted, passed)
    show(figures)
    if not given.only:
        publish("s3_tests", {"figures": figures, "suite": "ceph/s3-tests 8f0ae7b"})
    return 0


if __name__ == "__main__":
    sys.exit(main())
