"""What a process that opens the zone after a kill must find. Each problem is one sentence."""

import itertools
from collections.abc import Iterator
from typing import Any

from sqlalchemy import select

from lineage.ledger.entry import leaf_hash
from lineage.ledger.reader import LedgerReader
from tests.fakes.gateway_world import MASKED
from tests.fault.crash.model import ANY, Dataset, Model, Op, Version, content, md5
from tests.fault.crash.work import Worker, read
from tests.fault.crash.world import CrashWorld
from vault.catalog.mapping import VERSION
from vault.catalog.rows import VersionRow
from vault.catalog.tables import body, object_version

DAY = 86_400_000


def living(world: CrashWorld, dataset: str) -> dict[str, list[VersionRow]]:
    """By key, oldest first; each row's MAC is checked on the way."""
    held = world.catalog.dataset(dataset)
    statement = (
        VERSION.select.where(object_version.c.dataset_id == held.dataset_id, object_version.c.state == "live")
        .order_by(object_version.c.key, object_version.c.sequence)
    )  # fmt: skip
    rows = [VERSION.read(row, world.catalog._seal) for row in world.catalog._database.rows(statement, {})]
    return {key: list(group) for key, group in itertools.groupby(rows, lambda row: row.key)}


def fits(found: dict[str, list[VersionRow]], wanted: Dataset) -> bool:
    keys = {key: line for key, line in wanted.keys.items() if line}
    return found.keys() == keys.keys() and all(
        len(found[key]) == len(line) and all(map(_same, found[key], line)) for key, line in keys.items()
    )


def _same(row: VersionRow, version: Version) -> bool:
    facts = (row.delete_marker, row.is_null, row.etag, row.size)
    return version.version_id in {ANY, row.version_id} and facts == (
        version.marker, version.null, version.etag, len(version.body)
    )


class Check:
    """`candidates`: the model without the operation that was under way, and with it."""

    def __init__(self, world: CrashWorld, candidates: list[Model], promised: list[tuple[int, str]]) -> None:
        self._world = world
        self._candidates = candidates
        self._promised = promised
        self.fitting: Model | None = None

    def problems(self) -> Iterator[str]:
        yield from self._ledger()
        yield from self._versions()
        if self.fitting is None:
            return
        yield from self._bytes("found")
        yield from self._uploads()
        yield from self._views()
        yield from self._swept()
        yield from self._bytes("after the sweep")

    def _ledger(self) -> Iterator[str]:
        leaves = [leaf_hash(entry).hex() for entry in LedgerReader(self._world._root / "ledger").encoded(0, 1 << 40)]
        for index, leaf in self._promised:
            if index >= len(leaves) or leaves[index] != leaf:
                yield f"ledger entry {index} was promised and is not there"

    def _versions(self) -> Iterator[str]:
        names = {row.name for row in self._world.catalog.datasets()}
        for model in self._candidates:
            if names == model.datasets.keys() and self._holds(model):
                self.fitting = model
                return
        shown = {name: {k: [r.etag for r in rows] for k, rows in living(self._world, name).items()} for name in names}
        yield f"neither the state before nor after: {shown}, wanted one of {self._candidates}"

    def _holds(self, model: Model) -> bool:
        catalog = self._world.catalog
        for name, held in model.datasets.items():
            if catalog.dataset(name).versioning != held.versioning or not fits(living(self._world, name), held):
                return False
        for name, upload in model.uploads.items():
            row = catalog.find_upload(catalog.dataset(upload.dataset).dataset_id, name) if name != ANY else None
            parts = {part.part_number: part.md5.hex() for part in catalog.parts(name)}
            wanted = {number: md5(content(*piece)) for number, piece in upload.parts.items()}
            if name != ANY and (row is None or row.state != "open" or parts != wanted):
                return False
        return True

    def _bytes(self, when: str) -> Iterator[str]:
        assert self.fitting is not None
        world = self._world
        session: list[Any] = []

        def attested() -> Any:
            if not session:
                session.append(world.attested())
            return session[0]

        for name, held in self.fitting.datasets.items():
            rows = living(world, name)
            for key, line in held.keys.items():
                for row, version in zip(rows[key], line, strict=True):
                    if version.marker:
                        continue
                    exact = Version(row.version_id, version.null, version.etag, version.pieces)
                    reader = attested if name == "claims" else (lambda: world.analyst)
                    got = read(world, name, key, exact, reader)
                    if name != "claims" and version is line[-1]:
                        kept = world.run(world.front.get_tags(world.steward, world.ref(key, name), "req")).tags
                        if dict(kept) != dict(version.tags):
                            yield f"{when}: {name}/{key} has tags {dict(kept)}, not {dict(version.tags)}"
                    if got != version.body:
                        yield f"{when}: {name}/{key} reads as {got if isinstance(got, str) else len(got)}"

    def _uploads(self) -> Iterator[str]:
        """Every open upload can be completed from the parts that were answered, or aborted."""
        assert self.fitting is not None
        model = self.fitting
        worker = Worker(self._world, model)
        for name in [name for name in model.uploads if name != ANY]:
            op: Op = {"do": "complete" if model.uploads[name].parts else "abort", "upload_id": name}
            model.apply(op, worker.do(op))
        if not self._holds(model):
            yield "completed uploads are not what their parts were"

    def _views(self) -> Iterator[str]:
        """What was queued can be built, and what was built is served."""
        assert self.fitting is not None
        world = self._world
        for key, line in self.fitting.datasets["claims"].keys.items():
            if not line or not line[-1].body:
                continue
            row = world.version(key)
            world.build(row)
            answer = world.read(world.analyst, key)
            if answer.body != MASKED and row.format == "csv":
                yield f"the view of {key} reads as {answer.error or len(answer.body)}"

    def _swept(self) -> Iterator[str]:
        world = self._world
        for _ in range(3):
            world.later(8 * DAY)
            while world.vault.sweep() == 100:
                pass
        rows = world.catalog._database.rows(select(body.c.store_key, body.c.state), {})
        states = {row.state for row in rows}
        if not states <= {"live"}:
            yield f"after the sweep the catalog still has bodies that are {states}"
        kept = {row.store_key for row in rows}
        stored = {key for key in world.vault.store.list() if key[0] in "bm"}
        if kept != stored:
            yield f"missing from the store: {kept - stored}; left in it: {stored - kept}"
