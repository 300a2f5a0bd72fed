"""What of the catalog lies in the store beside the objects, so that a catalog can be written again from it alone.

    d/<2>/<dataset id>   a dataset: its row, every contract, every plan
    g/<2>/<group id>     a group key, wrapped, and the epoch it hangs on; useless once that epoch is destroyed
    w/<2>/<group id>     wraps that were moved into this group: their manifests still hold the old ones

Written after the catalog has the row and before anybody is told of it. One that a crash left out is written by
`reconcile`. Format: docs/spec/durability.md §4.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from threading import Lock
from typing import Any

from vault.catalog.catalog import Catalog
from vault.catalog.rows import ContractRow, DatasetRow, EpochRow, GroupRow, KeyWrapRow, PlanRow
from vault.errors import Malformed, NotFound
from vault.keys.secrets import derive_secret, open_blob, seal_blob
from vault.store.store import Store

FORMAT = 1
KINDS = {"d": "dataset", "g": "group", "w": "wraps"}
LABEL = "store-record"
MAX_STORED = 64 << 20
_WRAPS_AT_ONCE = 500
_CONTEXT = b"demesne/store-record/1\x00"


@dataclass(frozen=True, slots=True)
class StoredDataset:
    row: DatasetRow
    contracts: tuple[ContractRow, ...]
    plans: tuple[PlanRow, ...]


@dataclass(frozen=True, slots=True)
class StoredGroup:
    row: GroupRow
    epoch: EpochRow


@dataclass(frozen=True, slots=True)
class StoredWraps:
    group_id: str
    wraps: tuple[KeyWrapRow, ...]


def record_name(kind: str, subject: str) -> str:
    """`kind` d, g or w. The ids are random and stand in every manifest's header line."""
    return f"{kind}/{subject[:2]}/{subject}"


class RecordSeal:
    """Seals documents to their name in the store. The key is made from the catalog's own: who may write rows may write
    what rows are made from again, nobody else."""

    def __init__(self, catalog_mac_key: bytes, tenant: str, zone: str) -> None:
        self._key = derive_secret(catalog_mac_key, LABEL)
        self._place = {"format": FORMAT, "tenant": tenant, "zone": zone}

    def seal(self, name: str, document: dict[str, Any]) -> tuple[bytes, bytes]:
        """Bytes to store, and the SHA-256 of what they say."""
        plain = json.dumps(
            self._place | {"kind": KINDS[name[0]]} | document, sort_keys=True, separators=(",", ":"),
            ensure_ascii=False, allow_nan=False,
        ).encode()  # fmt: skip
        return seal_blob(self._key, plain, _CONTEXT + name.encode()), hashlib.sha256(plain).digest()

    def open(self, name: str, stored: bytes) -> dict[str, Any]:
        """Malformed("record") for other bytes, another name, another zone or kind."""
        try:
            document = json.loads(open_blob(self._key, stored, _CONTEXT + name.encode()))
        except Malformed as error:
            raise Malformed("record", name) from error
        if not isinstance(document, dict) or not (self._place | {"kind": KINDS[name[0]]}).items() <= document.items():
            raise Malformed("record", f"{name}: of another place or format")
        return document


class StoreRecords:
    """Writes and reads records of one tenant and zone. Thread safe."""

    def __init__(self, store: Store, catalog: Catalog, zone: str) -> None:
        self._store = store
        self._catalog = catalog
        self._zone = zone
        self._seal = RecordSeal(catalog.derived_key(), catalog.tenant, zone)
        self._known: set[str] = set()
        self._lock = Lock()

    def keep_dataset(self, dataset_id: str) -> None:
        """What the catalog says of this dataset now, durable in the store when this returns."""
        row = self._catalog.find_dataset(dataset_id)
        if row is None:
            raise NotFound("dataset", dataset_id)
        if row.zone == self._zone:  # a pointer to another zone is nothing that could be lost here
            self._put(record_name("d", dataset_id), self._dataset(row))

    def keep_group(self, group_id: str) -> None:
        """As `keep_dataset`. Whoever moves a group to another epoch calls it again, or `reconcile`."""
        row = self._catalog.find_group(group_id)
        if row is not None:  # the broker opens nothing of a group the catalog does not know
            self._put(record_name("g", group_id), self._group(row))
        with self._lock:
            self._known.add(group_id)

    def needs_group(self, group_id: str) -> bool:
        """Whether this process has not yet seen to the record of this group: the hot road's question, no I/O."""
        with self._lock:
            return group_id not in self._known

    def keep_wraps(self, group_id: str) -> None:
        """The wraps that were moved into this group, if any. Before the epoch they came from is destroyed."""
        moved: list[KeyWrapRow] = []
        after = ""
        while page := self._catalog.wraps_of(group_id, after, _WRAPS_AT_ONCE):
            moved += [row for row in page if row.moved]
            after = page[-1].subject
        if moved:
            self._put(record_name("w", group_id), _wraps(group_id, moved))

    def reconcile(self) -> int:
        """Write what is missing or says something else than the catalog; how many. Costs the catalog's datasets and
        groups, not its objects."""
        stored = self._catalog.store_records()
        done = 0
        for name, document in self._documents():
            known = stored.get(name)
            if known is None or known.sha256 != self._seal.seal(name, document)[1]:
                self._put(name, document)
                done += 1
        return done

    def adopt(self) -> int:
        """The other way round, after an older catalog was put back: groups and wraps as the store has them, where those
        are newer. How many. Malformed("record") before anything was taken over."""
        found = [self.read(name) for kind in "gw" for name in self.listed(kind)]
        groups = [each for each in found if isinstance(each, StoredGroup)]
        wraps = [each for each in found if isinstance(each, StoredWraps)]
        return sum(self._catalog.adopt_group(each.row, each.epoch) for each in groups) + sum(
            self._catalog.adopt_wraps(each.wraps) for each in wraps
        )

    def newer_group(self, name: str) -> bool:
        """Whether the store's record of a group is ahead of the catalog's row. Malformed("record")."""
        found = self.read(name)
        return isinstance(found, StoredGroup) and self._catalog.newer_group(found.row, found.epoch)

    def rewrite(self, name: str) -> None:
        """What the catalog says now under this name."""
        if name[0] == "d":
            self.keep_dataset(name.rsplit("/", 1)[1])
        elif name[0] == "g":
            self.keep_group(name.rsplit("/", 1)[1])
        else:
            self.keep_wraps(name.rsplit("/", 1)[1])

    def listed(self, kind: str) -> list[str]:
        """Names of the records of one kind (d, g, w) that lie in the store."""
        return sorted(self._store.list(f"{kind}/"))

    def expected(self) -> Iterator[tuple[str, bytes]]:
        """(name, SHA-256 of the document) of each record there should be."""
        for name, document in self._documents():
            yield name, self._seal.seal(name, document)[1]

    def read(self, name: str) -> StoredDataset | StoredGroup | StoredWraps:
        """What is stored. Malformed("record")."""
        size = self._store.size(name)
        if size > MAX_STORED:
            raise Malformed("record", f"{name}: {size} bytes")
        document = self._seal.open(name, self._store.read_at(name, 0, size))
        try:
            return _read(name[0], document)
        except (KeyError, TypeError, ValueError) as error:
            raise Malformed("record", f"{name}: {error!r}") from error

    def sha256(self, name: str) -> bytes:
        """Of what is stored, after it was authenticated."""
        document = self._seal.open(name, self._store.read_at(name, 0, self._store.size(name)))
        return self._seal.seal(name, document)[1]

    def _documents(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for dataset in self._catalog.every_dataset():
            if dataset.zone == self._zone:
                yield record_name("d", dataset.dataset_id), self._dataset(dataset)
        for group in self._catalog.every_group():
            yield record_name("g", group.group_id), self._group(group)
        for group_id, wraps in self._catalog.moved_wraps():
            yield record_name("w", group_id), _wraps(group_id, wraps)

    def _put(self, name: str, document: dict[str, Any]) -> None:
        stored, sha256 = self._seal.seal(name, document)
        self._store.put_bytes(name, stored)
        self._catalog.record_stored(name, sha256)

    def _dataset(self, row: DatasetRow) -> dict[str, Any]:
        """Without the sequence, which every commit moves: a rebuild counts the versions it finds."""
        return {
            "dataset": {name: value for name, value in asdict(row).items() if name not in {"tenant", "sequence"}},
            "contracts": [_without_place(each) for each in self._catalog.contracts(row.dataset_id)],
            "plans": [_without_place(each) for each in self._catalog.every_plan(row.dataset_id)],
        }

    def _group(self, row: GroupRow) -> dict[str, Any]:
        epoch = self._catalog.find_epoch(row.epoch_id)
        if epoch is None:
            raise NotFound("epoch", row.epoch_id)
        group = {name: value for name, value in asdict(row).items() if name not in {"tenant", "objects"}}
        return {
            "group": group | {"wrapped": base64.b64encode(row.wrapped).decode()},
            "epoch": {name: value for name, value in asdict(epoch).items() if name != "tenant"},
        }


def _wraps(group_id: str, wraps: Iterable[KeyWrapRow]) -> dict[str, Any]:
    return {"group_id": group_id, "wraps": [
        {"subject": row.subject, "dataset_id": row.dataset_id, "key_class": row.key_class,
         "wrapped": base64.b64encode(row.wrapped).decode()}
        for row in wraps
    ]}  # fmt: skip


def _without_place(row: ContractRow | PlanRow) -> dict[str, Any]:
    return {name: value for name, value in asdict(row).items() if name not in {"tenant", "dataset_id"}}


def _read_dataset(document: dict[str, Any]) -> StoredDataset:
    tenant, dataset_id = document["tenant"], document["dataset"]["dataset_id"]
    where = {"tenant": tenant, "dataset_id": dataset_id}
    return StoredDataset(
        DatasetRow(tenant=tenant, sequence=0, **document["dataset"]),
        tuple(ContractRow(**where, **each) for each in document["contracts"]),
        tuple(PlanRow(**where, **each) for each in document["plans"]),
    )


def _read_group(document: dict[str, Any]) -> StoredGroup:
    tenant, group = document["tenant"], dict(document["group"])
    group["wrapped"] = base64.b64decode(group["wrapped"], validate=True)
    return StoredGroup(GroupRow(tenant=tenant, objects=0, **group), EpochRow(tenant=tenant, **document["epoch"]))


def _read_wraps(document: dict[str, Any]) -> StoredWraps:
    group_id = document["group_id"]
    return StoredWraps(group_id, tuple(
        KeyWrapRow(
            tenant=document["tenant"], subject=each["subject"], dataset_id=each["dataset_id"],
            key_class=each["key_class"], group_id=group_id, wrapped=base64.b64decode(each["wrapped"], validate=True),
            moved=True,
        )
        for each in document["wraps"]
    ))  # fmt: skip


def _read(kind: str, document: dict[str, Any]) -> StoredDataset | StoredGroup | StoredWraps:
    if kind == "d":
        return _read_dataset(document)
    return _read_group(document) if kind == "g" else _read_wraps(document)
