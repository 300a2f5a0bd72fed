"""An older catalog was put back: keys as the store's records know them now, and what was erased since is withdrawn.

Without it the catalog names wraps under epoch keys that were destroyed meanwhile: nothing of the dataset opens, and the
next record written to the store would be the old one, over the only one that still leads to the survivors' keys.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from vault.catalog.catalog import Catalog
from vault.catalog.rows import VersionRow
from vault.catalog.section import new_id
from vault.fsck import behind
from vault.keys.provider import EpochState, KeyClass, KeyProvider
from vault.rebuild import Evidence
from vault.records import StoreRecords
from vault.store.store import Store

_GONE = {EpochState.DESTROYED: "destroyed", EpochState.PENDING: "pending-destruction"}


@dataclass(frozen=True, slots=True)
class Adopted:
    """`keys`: groups and wraps taken over. `withdrawn`: version ids that open with nothing and are no more. `left`:
    those that open with nothing although no ledger saw them removed. `epochs`: rows set right, or made."""

    keys: int
    withdrawn: tuple[str, ...]
    left: tuple[str, ...]
    epochs: int


def adopt(
    store: Store, catalog: Catalog, zone: str, providers: Mapping[KeyClass, KeyProvider], evidence: Evidence | None, *,
    records: StoreRecords | None = None,
) -> Adopted:  # fmt: skip
    """Offline, after a restore. Malformed("record") before anything is withdrawn: a record that cannot be read may be
    the one that holds a survivor's key. Repeating it changes nothing."""
    keys = (records or StoreRecords(store, catalog, zone)).adopt()
    withdrawn, left = _withdraw(store, catalog, evidence or Evidence())
    return Adopted(keys, withdrawn, left, settle_epochs(catalog, zone, providers))


def _withdraw(store: Store, catalog: Catalog, evidence: Evidence) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the ledger saw removed goes first, each a step that the dataset takes again. Of a dataset that is still
    behind its ledger afterwards nothing else is touched: something is lost there, and people decide."""
    dead = catalog.without_a_key()
    gone = [_take(store, catalog, row) for row in dead if row.version_id in evidence.removed]
    behind_still = {finding.name for finding in behind(catalog, evidence)}
    left = []
    for row in dead:
        if row.version_id in evidence.removed:
            continue
        if row.dataset_id in behind_still:
            left.append(row.version_id)
        else:
            gone.append(_take(store, catalog, row))
    return tuple(sorted(gone)), tuple(sorted(left))


def _take(store: Store, catalog: Catalog, row: VersionRow) -> str:
    done = catalog.put_delete(
        row.dataset_id, row.key, row.written_by, row.run_id, row.record, version_id=row.version_id
    )
    for name in done.superseded:
        store.delete(name)
    return row.version_id


def settle_epochs(catalog: Catalog, zone: str, providers: Mapping[KeyClass, KeyProvider]) -> int:
    """Epochs that the provider destroyed, or will, are so in the catalog; a class whose epochs are all retired or gone
    gets a new one, or nothing could be written. One that somebody disabled stays as it was. A provider that knows
    nothing of an epoch may be the wrong one: that changes nothing."""
    changed = 0
    for dataset in catalog.every_dataset():
        if dataset.zone != zone:
            continue
        for key_class, provider in providers.items():
            changed += _settle(catalog, dataset.dataset_id, key_class, provider)
    return changed


def _settle(catalog: Catalog, dataset_id: str, key_class: KeyClass, provider: KeyProvider) -> int:
    changed, states = 0, set()
    for epoch in catalog.epochs(dataset_id):
        if epoch.key_class != key_class:
            continue
        said = provider.status(epoch.epoch_id)
        state = _GONE.get(said.state, epoch.state) if epoch.state != "destroyed" else epoch.state
        if state != epoch.state:
            catalog.set_epoch_state(epoch.epoch_id, state, destroy_at=said.until_ms)
            changed += 1
        states.add(state)
    if states and not states & {"active", "disabled"}:
        made = new_id()
        provider.create_epoch(made, key_class)
        catalog.rotate_epoch(epoch_id=made, dataset_id=dataset_id, key_class=key_class)
        changed += 1
    return changed
