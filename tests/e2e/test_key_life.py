"""`demesne key` as two people use it, against real processes: rotation, erasure with a kill in the middle, refusals."""

import json
import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.e2e.world import World, until

OBJECTS = 5


@pytest.fixture
def dataset(world: World) -> str:
    """One that holds no personal data, so that a steward's own GET tells what opens."""
    name = f"keys-{uuid.uuid4().hex[:8]}"
    with world.api("steward") as client:
        client.create_dataset(name, label="none")
    s3 = world.s3("steward")
    for number in range(OBJECTS):
        s3.put_object(Bucket=name, Key=f"{number:02}.txt", Body=f"object {number}".encode())
    return name


def opens(world: World, dataset: str, key: str) -> bool:
    try:
        return bool(world.s3("steward").get_object(Bucket=dataset, Key=key)["Body"].read())
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchKey":
            return False
        raise


def keys(world: World, dataset: str) -> list[dict[str, Any]]:
    with world.api("steward") as client:
        found: list[dict[str, Any]] = client.keys(dataset)
    return found


def test_rotate_rewrap_destroy(world: World, dataset: str) -> None:
    world.command("key", "rotate", dataset)
    world.command("key", "rewrap", dataset)
    old, new = keys(world, dataset)
    assert [(each["state"], each["objects"]) for each in (old, new)] == [("retired", 0), ("active", OBJECTS)]
    order = world.command("key", "destroy", dataset, old["epoch_id"], "--reason", "a test")["requests"][0]
    own = world.run("key", "approve", order["request_id"], "--yes", "--as", "steward", "--json")
    assert own.returncode == 3, own.stdout
    done = world.command("key", "approve", order["request_id"], "--yes")["requests"][0]
    assert done["result"]["epochs"] == {old["epoch_id"]: {"state": "destroyed", "until": None}}
    assert all(opens(world, dataset, f"{number:02}.txt") for number in range(OBJECTS))
    refused = world.run("key", "destroy", dataset, new["epoch_id"], "--reason", "a test", "--json")
    assert refused.returncode == 7
    assert json.loads(refused.stdout)["error"]["rule"] == "key.active"


def test_an_erasure_goes_on_when_its_processes_are_killed(world: World, dataset: str) -> None:
    order = world.command("key", "shred", dataset, "--prefix", "03", "--reason", "request 7")["requests"][0]
    assert opens(world, dataset, "03.txt")
    world.command("key", "approve", order["request_id"], "--yes", "--no-wait")
    for role in ("jobs", "broker"):
        world.kill(role)
    world.revive()

    def done() -> bool:
        with world.api("custodian") as client:
            return "certificate" in client.key_request(order["request_id"])

    until(done, 60, "no certificate", pause=1.0)
    found = world.command("key", "certificate", order["request_id"])
    said = json.loads(found["certificate"])["erasure"]
    assert (said["state"], len(said["versions"])) == ("destroyed", 1)
    assert [number for number in range(OBJECTS) if not opens(world, dataset, f"{number:02}.txt")] == [3]
    assert {each["state"] for each in keys(world, dataset)} == {"active", "destroyed"}


def test_people_get_words(world: World, dataset: str) -> None:
    told = world.run("key", "shred", dataset, "--key", "01.txt", "--reason", "request 8").stdout
    assert "waits for a second person" in told
    assert "demesne key approve" in told
    assert "erases at most" not in told
    assert world.run("key", "--help").stdout.count("epoch") > 3
    empty = world.run("key", "shred", dataset, "--reason", "x")
    assert empty.returncode == 5
    assert "--prefix" in empty.stderr
