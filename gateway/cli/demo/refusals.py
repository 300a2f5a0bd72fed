"""What must not happen, tried: each refusal with its rule, its reason, what to do, and its place in the ledger."""

import io
import os
import secrets
import time
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
from botocore.exceptions import BotoCoreError, ClientError

from demesne.credentials import Credentials
from gateway.cli.demo.stage import DATASET, FRESHNESS_SECONDS, Refusal, Stage, StepFailed, expect, refused, told
from gateway.settings import Settings
from lineage.ledger.client import SyncLedgerClient
from lineage.ledger.entry import encode_entry
from vault.broker.client import BrokerClient
from vault.broker.types import Grant
from vault.envelope.manifest import read_header
from vault.errors import Refused
from vault.keys.hierarchy import KeyScope

KEY = "part-0.parquet"
ELSEWHERE = "archive-fr"
PROBE = "risk/probe.bin"
PROBE_BYTES = 8 << 20


def raw_without_attestation(stage: Stage) -> str:
    """The analyst asks for raw rows, and would rather be refused than masked."""
    client = stage.s3("analyst")
    client.meta.events.register(
        "before-sign.s3.GetObject", lambda request, **_: request.headers.add_header("x-demesne-require-view", "raw")
    )
    return _denied(stage, refused(lambda: client.get_object(Bucket=DATASET, Key=KEY)), "attestation.required")


def wrong_purpose(stage: Stage) -> str:
    session = stage.attest(purpose="marketing", run="target-customers")
    try:
        return _denied(stage, refused(lambda: session.boto3().get_object(Bucket=DATASET, Key=KEY)), "purpose.")
    finally:
        session.close()


def other_jurisdiction(stage: Stage) -> str:
    with stage.api() as api:
        made = api.create_principal(
            "analyst-abroad", kind="person", roles=["analyst"], jurisdiction="us", purposes=["analytics"],
            purpose="analytics",
        )  # fmt: skip
    abroad = Credentials(made["access_key_id"], made["secret_access_key"])
    return _denied(
        stage, refused(lambda: stage.s3(abroad).get_object(Bucket=DATASET, Key=KEY)), "residency.principal"
    )


def into_another_zone(stage: Stage) -> str:
    """The run that read `claims` in de writes to a dataset that lies in fr, asked of de and of fr."""
    with stage.api(zone="fr") as there:
        there.create_dataset(ELSEWHERE, synthetic=True)
    with stage.api() as here:
        here.create_dataset(ELSEWHERE, zone="fr", synthetic=True)
    session = stage.attest(run="copy-abroad")
    raw = session.boto3().get_object(Bucket=DATASET, Key=KEY)["Body"].read()
    refusal = refused(lambda: session.boto3().put_object(Bucket=ELSEWHERE, Key="copy.parquet", Body=raw))
    told_here = _denied(stage, refusal, "residency.")
    foreign = refused(
        lambda: stage.s3(session.credentials, zone="fr").put_object(Bucket=ELSEWHERE, Key="copy.parquet", Body=raw)
    )
    expect(foreign.status in {400, 403}, told(foreign))
    with stage.catalog("fr") as catalog:
        count = catalog.execute("select count(*) from object_version").fetchone()[0]
    expect(count == 0, "something lies in fr")
    session.close()
    return f"{told_here}\nzone fr, asked with the session of de: {foreign.status} {foreign.code}; nothing lies in fr"


def freshness_lapsed(stage: Stage) -> str:
    """A job that stops re-attesting in mid-epoch: raw, then 503 for the grace, then 403; never masked rows."""
    session = stage.attest(run="slow-epoch", reattest=False)
    client = stage.s3(session.credentials)
    answers: list[str] = []
    last: Refusal | None = None
    end = time.monotonic() + FRESHNESS_SECONDS + 15
    while time.monotonic() < end:
        try:
            got = client.get_object(Bucket=DATASET, Key=KEY)
            table = pq.read_table(io.BytesIO(got["Body"].read()), columns=["email"])
            expect("@" in table["email"][0].as_py(), "masked rows were handed to an attested session")
            expect(got["ResponseMetadata"]["HTTPHeaders"]["x-demesne-view"] == "raw", "not the raw view")
            answers.append("raw")
        except ClientError as error:
            status = int(error.response["ResponseMetadata"]["HTTPStatusCode"])
            answers.append(str(status))
            if status == 403:
                last = refused(lambda: client.get_object(Bucket=DATASET, Key=KEY))
                break
        time.sleep(0.4)
    session.close()
    expect(last is not None, f"never refused: {answers}")
    if last is None:
        raise StepFailed("never refused")
    expect(last.code == "ReattestationRequired", told(last))
    order = [answer for number, answer in enumerate(answers) if number == 0 or answers[number - 1] != answer]
    expect(order in (["raw", "503", "403"], ["raw", "403"]), f"answers came in the order {order}")
    stage.on_record(last)
    return f"reads answered {' → '.join(order)}\n{told(last)}"


def flipped_byte(stage: Stage) -> str:
    """One bit of an 8 MiB object is changed on disk. What arrives is a verified prefix, and no clean end."""
    session = stage.attest(run="probe", scope=(DATASET, "models"))
    data = os.urandom(PROBE_BYTES)
    session.boto3().put_object(Bucket="models", Key=PROBE, Body=data)
    path = _stored_body(stage, "models", PROBE)
    _flip(path, path.stat().st_size * 3 // 4)
    got = session.boto3().get_object(Bucket="models", Key=PROBE)
    decision = got["ResponseMetadata"]["HTTPHeaders"]["x-demesne-decision"]
    received = bytearray()
    try:
        for piece in got["Body"].iter_chunks(65536):
            received += piece
    except (BotoCoreError, OSError) as error:
        how = type(error).__name__
    else:
        raise StepFailed("the read ended as if nothing had happened")
    finally:
        _flip(path, path.stat().st_size * 3 // 4)
        session.close()
    expect(len(received) < PROBE_BYTES, "all bytes arrived")
    expect(data.startswith(received), "an unverified byte left")
    outcome = stage.entries(lambda entry: entry["type"] == "outcome" and entry["intent"] == decision)
    expect(outcome["status"] == "aborted", f"the ledger says {outcome['status']}")
    return (
        f"{len(received)} of {PROBE_BYTES} bytes arrived, each of them verified; then the connection was cut ({how})\n"
        f"ledger: outcome {outcome['status']}, reason {outcome['reason']}"
    )


def edited_label(stage: Stage) -> str:
    """Somebody with the catalog's file relabels `claims` as holding no personal data."""
    with stage.catalog() as catalog:
        catalog.execute("update dataset set label = 'none' where name = ?", (DATASET,))
    try:
        refusal = refused(lambda: stage.s3("analyst").get_object(Bucket=DATASET, Key=KEY))
    finally:
        with stage.catalog() as catalog:
            catalog.execute("update dataset set label = 'personal' where name = ?", (DATASET,))
    expect(refusal.status == 403, told(refusal))
    expect("integrity." in refusal.message, told(refusal))
    entry = stage.entries(lambda found: found["type"] == "integrity" and found.get("what") == "catalog-row")
    stage.s3("analyst").head_object(Bucket=DATASET, Key=KEY)
    return f"{told(refusal)}\nledger: integrity, {entry['reason']}; with the row restored, reads are answered again"


def broker_without_session(stage: Stage) -> str:
    """What a taken-over front worker could try: it can write to the ledger, and still has no attested session."""
    settings = Settings.model_validate({"zone": "de", "jurisdiction": "de", "state_dir": stage.state_dir})
    with stage.catalog() as catalog:
        dataset_id, version_id, store_key = catalog.execute(
            "select v.dataset_id, v.version_id, m.store_key from object_version v join manifest_generation m "
            "on m.subject = v.version_id join dataset d on d.dataset_id = v.dataset_id "
            "where d.name = ? and v.key = ? and v.is_latest", (DATASET, KEY),
        ).fetchone()  # fmt: skip
    header = read_header((stage.zone_dir("de") / "store" / store_key).read_bytes())
    scope = KeyScope("main", "de", dataset_id, "raw")
    got = stage.s3("analyst").head_object(Bucket=DATASET, Key=KEY)["ResponseMetadata"]["HTTPHeaders"]
    masked = stage.entries(lambda found: found.get("id") == got["x-demesne-decision"])
    forged = masked | {"id": secrets.token_hex(16), "view": "raw"}
    forged["decision"] = masked["decision"] | {"id": forged["id"]}
    with closing(SyncLedgerClient(settings.ledger_socket, "de")) as ledger:
        promise = ledger.append(forged).encode()
    attempts = {
        "with the analyst's own decision": (masked, got["x-demesne-promise"]),
        "with a forged decision that the ledger did promise": (forged, promise),
    }
    told_lines = []
    with BrokerClient(settings.broker_socket) as broker:
        for how, (entry, promised) in attempts.items():
            grant = Grant(entry=encode_entry(entry), promise=promised, session_id=None)
            try:
                broker.unwrap(scope, version_id, header.wrapped_key, grant)
            except Refused as refusal:
                told_lines.append(f"{how}: refused, {refusal.reason}")
            else:
                raise StepFailed(f"the broker released a raw key {how}")
    entry = stage.entries(lambda found: found["type"] == "broker-refusal")
    return "\n".join([*told_lines, f"ledger: broker-refusal, {entry['reason']}"])


def _denied(stage: Stage, refusal: Refusal, rule: str) -> str:
    """Refused with 403 by that rule, with something to do, and on record."""
    expect(refusal.status == 403, told(refusal))
    expect(f"Rule: {rule}" in refusal.message, told(refusal))
    expect("What to do:" in refusal.message, told(refusal))
    entry = stage.on_record(refusal)
    codes = entry["decision"]["codes"]
    expect(not entry["decision"]["allow"] and any(code.startswith(rule) for code in codes), f"ledger: {codes}")
    return told(refusal)


def _stored_body(stage: Stage, dataset: str, key: str) -> Path:
    with stage.catalog() as catalog:
        row = catalog.execute(
            "select b.store_key from body b join object_version v on b.subject = v.version_id "
            "join dataset d on d.dataset_id = v.dataset_id where d.name = ? and v.key = ? and v.is_latest "
            "order by b.sealed_length desc limit 1", (dataset, key),
        ).fetchone()  # fmt: skip
    return stage.zone_dir("de") / "store" / str(row[0])


def _flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 1]))
