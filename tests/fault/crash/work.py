"""Operations through the front worker's real roads: chosen by chance from what the model allows, done, answered."""

import random
from collections.abc import Callable
from typing import Any

from gateway.errors import GatewayError
from gateway.s3.ports import CompletedPart
from tests.fault.crash.model import Model, Op, Version, content
from tests.fault.crash.world import CrashWorld
from vault.ref import ObjectRef

KEYS = ("a.csv", "dir/b.csv", "dir/ü.csv")
SETS = ("claims", "open-data", "versioned")
SIZES = (0, 90, 16_384, 40_000)
CONTRACT = {"keys_personal": False}


def choose(kind: str, chance: random.Random, model: Model) -> Op | None:
    """An operation of this kind that can succeed now; None where there is none."""
    number, size = chance.randrange(1 << 30), chance.choice(SIZES)
    dataset, key = chance.choice(SETS), chance.choice(KEYS)
    op: Op = {"do": kind, "dataset": dataset, "key": key}
    living = [(name, at) for name in SETS for at, line in model.datasets[name].keys.items() if not line[-1].marker]
    match kind:
        case "put":
            return op | {"number": number, "size": size}
        case "upload":
            return op
        case "delete":
            return op | dict(zip(("dataset", "key"), chance.choice(living), strict=True)) if living else None
        case "copy" | "tag":
            # Nobody may read the personal dataset raw and write to it: what is copied is its open kin.
            living = [each for each in living if kind == "tag" or each[0] != "claims"]
            if not living:
                return None
            dataset, source = chance.choice(living)
            if kind == "copy":
                return op | {"dataset": dataset, "source": source, "key": chance.choice(KEYS)}
            return op | {"dataset": dataset, "key": source, "tags": {"n": str(number)}}
        case "delete_version":
            found = [
                (at, old.version_id) for at, line in model.datasets["versioned"].keys.items() for old in line
                if not old.null
            ]  # fmt: skip
            if not found:
                return None
            key, version_id = chance.choice(found)
            return {"do": kind, "dataset": "versioned", "key": key, "version_id": version_id}
        case "versioning":
            return {"do": kind, "dataset": "versioned", "state": chance.choice(["enabled", "suspended"])}
        case "create_dataset":
            return {"do": kind, "dataset": f"made-{number}"}
        case "part":
            if not model.uploads:
                return None
            name = chance.choice(sorted(model.uploads))
            return {"do": kind, "upload_id": name, "part": chance.randrange(1, 4), "number": number, "size": size}
        case "complete":
            ready = sorted(name for name, upload in model.uploads.items() if upload.parts)
            return {"do": kind, "upload_id": chance.choice(ready)} if ready else None
        case "abort":
            return {"do": kind, "upload_id": chance.choice(sorted(model.uploads))} if model.uploads else None
    return {"do": kind}


NEEDS = {
    "delete": ("put",), "copy": ("put",), "tag": ("put",), "delete_version": ("put",), "part": ("upload",),
    "complete": ("upload", "part", "part"), "abort": ("upload", "part"), "build": ("put",), "sweep": ("put", "delete"),
}  # fmt: skip


class Worker:
    """Does operations on a world and answers what the caller was told, as JSON."""

    def __init__(self, world: CrashWorld, model: Model) -> None:
        self._world = world
        self._model = model
        world.vault._min_part = 1

    @staticmethod
    def kinds(world: CrashWorld) -> tuple[str, ...]:
        """Those this gateway has roads for."""
        optional = {"copy": "copy_object", "tag": "put_tags", "versioning": "set_versioning"}
        every = ("put", "delete", "delete_version", "upload", "part", "complete", "abort", "build", "contract",
                 "create_dataset", "sweep", "publish", *optional)  # fmt: skip
        return tuple(kind for kind in every if hasattr(world.front, optional.get(kind, "open_read")))

    def do(self, op: Op) -> dict[str, Any]:
        answer = getattr(self, f"_{op['do']}")(op)
        self._world.ledger.flush()
        return answer or {}

    def _ref(self, op: Op) -> ObjectRef:
        return self._world.ref(op["key"], op["dataset"], op.get("version_id"))

    def _made(self, op: Op) -> dict[str, Any]:
        return {"version_id": self._world.version(op["key"], op["dataset"]).version_id}

    def _put(self, op: Op) -> dict[str, Any]:
        self._world.written(
            self._world.steward, op["key"], content(op["number"], op["size"]), dataset=op["dataset"]
        )
        return self._made(op)

    def _delete(self, op: Op) -> dict[str, Any]:
        world = self._world
        world.run(world.front.delete(world.steward, self._ref(op), "req"))
        row = world.find(op["key"], op["dataset"])
        return {} if row is None else {"version_id": row.version_id}

    def _delete_version(self, op: Op) -> None:
        self._world.run(self._world.front.delete(self._world.steward, self._ref(op), "req"))

    def _copy(self, op: Op) -> dict[str, Any]:
        world = self._world
        front: Any = world.front
        world.run(front.copy_object(
            world.steward, world.ref(op["source"], op["dataset"]), self._ref(op), content_type=None,
            user_metadata=None, tags=None, check_source=None, condition=None, checksum_algorithm="", request_id="req",
        ))  # fmt: skip
        return self._made(op)

    def _tag(self, op: Op) -> None:
        front: Any = self._world.front
        self._world.run(front.put_tags(self._world.steward, self._ref(op), op["tags"], "req"))

    def _versioning(self, op: Op) -> None:
        front: Any = self._world.front
        where = self._world.dataset_ref(op["dataset"])
        self._world.run(front.set_versioning(self._world.steward, where, op["state"], "req"))

    def _upload(self, op: Op) -> dict[str, Any]:
        world = self._world
        return {"upload_id": world.run(
            world.front.create_upload(world.steward, self._ref(op), "text/csv", {"made": "here"}, "req")
        )}  # fmt: skip

    def _part(self, op: Op) -> None:
        world, upload = self._world, self._model.uploads[op["upload_id"]]
        ref = world.ref(upload.key, upload.dataset)

        async def send() -> None:
            async with world.front.open_part(world.steward, ref, op["upload_id"], op["part"], "req") as part:
                await part.write(content(op["number"], op["size"]))
                await part.commit()

        world.run(send())

    def _complete(self, op: Op) -> dict[str, Any]:
        world, upload = self._world, self._model.uploads[op["upload_id"]]
        ref = world.ref(upload.key, upload.dataset)
        listed = world.run(world.front.list_parts(world.steward, ref, op["upload_id"], after=0, limit=100)).parts
        parts: Any = [CompletedPart(part.number, part.etag) for part in listed]
        world.run(world.front.complete_upload(world.steward, ref, op["upload_id"], parts, None, "req"))
        return self._made({"key": upload.key, "dataset": upload.dataset})

    def _abort(self, op: Op) -> None:
        world, upload = self._world, self._model.uploads[op["upload_id"]]
        ref = world.ref(upload.key, upload.dataset)
        world.run(world.front.abort_upload(world.steward, ref, op["upload_id"], "req"))

    def _build(self, _op: Op) -> None:
        for key in self._model.datasets["claims"].keys:
            self._world.build(self._world.version(key))

    def _contract(self, _op: Op) -> None:
        self._world.contract("claims")

    def _create_dataset(self, op: Op) -> None:
        world = self._world
        world.run(world.front.create_dataset(world.steward, world.dataset_ref(op["dataset"]), "req"))

    def _sweep(self, _op: Op) -> None:
        self._world.later(3_600_001)
        while self._world.vault.sweep() == 100:
            pass

    def _publish(self, _op: Op) -> None:
        self._world.ledger.publish()


def read(world: CrashWorld, dataset: str, key: str, version: Version, reader: Callable[[], Any]) -> bytes | str:
    """What somebody who may read it gets: the bytes, or the refusal's rule."""
    answer = world.read(reader(), key, dataset=dataset, version_id=version.version_id or None)
    if isinstance(answer.error, GatewayError):
        return answer.error.rule or answer.error.code
    return answer.body
