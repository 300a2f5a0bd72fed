"""The trust directory of a running zone: what it says is what the broker admits, within seconds, without a restart."""

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from joserfc.jwk import ECKey

from tests.e2e.attested_job import AttestedJob
from tests.e2e.world import PURPOSE, World, until
from tests.fakes.attest_snp import FakeAmd
from tests.fakes.attest_trust import FLOOR, Machines, TrustFiles
from vault.attest.binding import ExpectedBinding, key_thumbprint

WITHIN = 5.0  # seconds


class Machine(AttestedJob):
    """A job with a key and no session yet."""

    def __post_init__(self) -> None:
        self.key = ECKey.generate_key("P-256")
        public = self.key.as_dict(private=False)
        self.jwk = {name: public[name] for name in ("kty", "crv", "x", "y")}


@pytest.fixture(scope="module")
def files(world: World) -> Iterator[TrustFiles]:
    path = world.zone_dir() / "trust"
    yield TrustFiles(path)
    shutil.rmtree(path, ignore_errors=True)


def written(files: TrustFiles, **sections: Any) -> None:
    now = datetime.now(UTC)
    files.write("platforms", issued=now - timedelta(hours=1), expires=now + timedelta(days=1), **sections)


def rule(job: AttestedJob, machines: Machines) -> str:
    """The rule of the refusal that this machine's evidence meets, "" when it has a session."""
    status, _, answer = job.api("POST", "/v1/challenges", {"purpose": PURPOSE, "scope": job.scope})
    assert status == 201, answer
    given = json.loads(answer)
    bound = ExpectedBinding(
        given["nonce"], given["gateway"], key_thumbprint(job.jwk), PURPOSE, tuple(sorted(job.scope))
    )
    body = {
        "nonce": given["nonce"], "kind": "snp", "evidence": machines.evidence("snp", bound), "key": job.jwk,
        "purpose": PURPOSE, "scope": job.scope,
    }  # fmt: skip
    status, _, answer = job.api("POST", "/v1/sessions", body)
    told = json.loads(answer)
    assert status in {201, 403}, told
    return "" if status == 201 else str(told["rule"])


def shown(world: World, part: str) -> Any:
    with httpx2.Client(verify=world.trust) as client:
        return client.get(f"{world.zone().api_endpoint}/{part}")


def test_a_running_broker_admits_what_its_directory_says(world: World, files: TrustFiles) -> None:
    job, machines = Machine(world, ["claims"]), Machines(amd=FakeAmd())
    assert rule(job, machines) == "attest.no-trust"

    written(files, snp={"products": {"Milan": FLOOR}})
    until(lambda: rule(job, machines) == "attest.chain", WITHIN, "the floor does not count")  # AMD's roots, not ours
    files.put("development-roots/amd-milan.pem", machines.amd.root.pem)
    until(lambda: rule(job, machines) == "", WITHIN, "the root of development does not count")  # synthetic data alone

    written(files, snp={"products": {"Milan": FLOOR}, "deny_chips": [machines.amd.hardware_id.hex()]})
    until(lambda: rule(job, machines) == "attest.platform", WITHIN, "the deny list does not count")

    files.put("platforms.json", b'{"schema": "demesne.trust.platforms/1", "snp": {}}')
    until(lambda: rule(job, machines) == "attest.no-trust", WITHIN, "a file that is not understood counts")
    document = shown(world, "readyz").json()
    assert (document["ready"], document["trust"]["state"]) == (True, "degraded")
    assert document["trust"]["files"]["platforms"] == "unreadable"
    assert 'demesne_trust_file{file="platforms",state="unreadable"} 1.0' in shown(world, "metrics").text

    (files.path / "platforms.json").unlink()
    until(lambda: shown(world, "readyz").json()["trust"]["files"]["platforms"] == "missing", WITHIN, "still there")
    assert rule(job, machines) == "attest.no-trust"
