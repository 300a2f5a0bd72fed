"""A machine with a TPM (swtpm) and a running zone, by people's commands: enrolled, approved, attested, retired."""

import base64
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import demesne
from demesne.credentials import Credentials
from demesne.errors import DemesneError
from demesne.evidence.tpm import TpmAttester
from tests.e2e.conftest import DATASET
from tests.e2e.people import Input
from tests.e2e.world import PURPOSE, World, until
from tests.fakes.attest_tpm_enrolment import ders
from tests.fakes.swtpm import Swtpm, need_swtpm
from vault.attest.certificates import fingerprint, load_certificate

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def machine() -> Iterator[Swtpm]:
    need_swtpm()
    with Swtpm(manufactured=True) as swtpm:
        yield swtpm


@pytest.fixture
def trusted(world: World, machine: Swtpm) -> Iterator[Path]:
    """The zone pins this machine's maker, by a file and nothing else."""

    *issuers, root = ders(machine.authority)
    now = datetime.now(UTC)
    document = {
        "schema": "demesne.trust.tpm-keys/1", "issued": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "expires": f"{now + timedelta(days=30):%Y-%m-%dT%H:%M:%SZ}",
        "endorsement_roots": [fingerprint(load_certificate(root))],
        "endorsement_certificates": [base64.b64encode(der).decode() for der in (*issuers, root)],
    }  # fmt: skip
    path = world.zone_dir() / "trust" / "tpm-keys.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document))
    yield path
    path.unlink()


def run(world: World, who: Credentials, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`demesne …` on the machine, as its workload."""
    program = Path(sys.executable).with_name("demesne")
    environment = {
        "DEMESNE_ENDPOINT": world.zone().api_endpoint, "DEMESNE_REGION": "de", "PATH": "/usr/bin:/bin",
        "AWS_ACCESS_KEY_ID": who.access_key_id, "AWS_SECRET_ACCESS_KEY": who.secret_access_key, "LANG": "C.UTF-8",
    }  # fmt: skip
    return subprocess.run(
        [str(program), *arguments], capture_output=True, text=True, check=False, timeout=60, env=environment
    )


def attested(world: World, machine: Swtpm, who: Credentials, made: Input) -> str:
    """Whether a session opens and reads people's own addresses ("raw"), or the rule that says no."""
    try:
        session = demesne.session(
            world.zone().api_endpoint, purpose=PURPOSE, scope=[DATASET], credentials=who, region="de",
            s3_endpoint=world.zone().s3_endpoint, notice=io.StringIO(),
            attester=TpmAttester(transport=machine.transport),
        )  # fmt: skip
    except DemesneError as error:
        return str(error.rule)
    with session:
        s3 = session.boto3()
        text = s3.get_object(Bucket=DATASET, Key="members.csv")["Body"].read().decode()
    assert made.emails[0] in text
    return "raw"


def test_a_machines_tpm_from_its_maker_to_its_end(
    world: World, made: Input, machine: Swtpm, trusted: Path, tmp_path: Path
) -> None:
    job, device = world.job(), str(machine.path / "s")

    def enrol() -> subprocess.CompletedProcess[str]:
        return run(world, job, "attest", "enrol-tpm", "--purpose", PURPOSE, "--device", device, "--json")

    done = until(enrol, 15, "the trust file was not read", lambda found: found.returncode == 0, pause=1)
    key: dict[str, Any] = json.loads(done.stdout)
    assert (key["state"], key["pcr_policy"]) == ("enrolled", {})
    again = enrol()
    assert (again.returncode, "TpmKeyExists" in again.stderr) == (7, True)
    before = attested(world, machine, job, made)
    assert before == "attestation.tpm-enrolment"  # verified, and worth nothing yet

    found = run(world, job, "attest", "pcrs", "--device", device, "--pcr", "0,7", "--json")
    policy = tmp_path / "pcrs.json"
    policy.write_text(found.stdout)
    mine = run(world, job, "attest", "approve-tpm", key["key_name"], "--pcrs", str(policy), "--reason", "mine")
    assert mine.returncode == 3
    approved = world.command("attest", "approve-tpm", key["key_name"], "--pcrs", str(policy), "--reason", "image 7")
    assert approved["state"] == "approved"
    assert [each["key_name"] for each in world.command("attest", "keys")["keys"]] == [key["key_name"]]
    assert attested(world, machine, job, made) == "raw"

    policy.write_text(json.dumps({"7": ["22" * 32]}))
    world.command("attest", "approve-tpm", key["key_name"], "--pcrs", str(policy), "--reason", "another image")
    assert attested(world, machine, job, made) == "attest.measurement"

    assert world.command("attest", "retire-tpm", key["key_name"], "--reason", "sold")["state"] == "retired"
    assert attested(world, machine, job, made) == "attest.chain"


def test_nobodys_tpm_is_enrolled_where_no_maker_is_pinned(world: World, machine: Swtpm) -> None:
    def enrol() -> subprocess.CompletedProcess[str]:
        return run(world, world.job(), "attest", "enrol-tpm", "--purpose", PURPOSE, "--device",
                   str(machine.path / "s"), "--handle", "0x81010020")  # fmt: skip

    refused = until(enrol, 15, "the trust file still counts", lambda found: found.returncode == 3, pause=1)
    assert "attest.no-trust" in refused.stderr
