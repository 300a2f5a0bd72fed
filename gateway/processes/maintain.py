"""`python -m gateway maintain fsck|rebuild|backup|restore`: what an operator does to a zone by hand.

It runs where the provider's credentials are: manifests and bodies must be authenticated. Prints one JSON document.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gateway.durable.backup import Places, back_up, restore
from gateway.durable.evidence import read_evidence
from gateway.plans import DECLASSIFIED
from gateway.processes.providers import open_providers
from gateway.processes.zone import now_ms, open_catalog, open_store
from gateway.record import rfc3339
from gateway.settings import Settings
from lineage.errors import LineageError
from vault.adopting import adopt, settle_epochs
from vault.catalog.catalog import Catalog
from vault.catalog.database import Database
from vault.errors import Refused, VaultError
from vault.fsck import Finding, Fsck, behind
from vault.keys.deadline import DeadlineProvider
from vault.keys.hierarchy import KeyRing
from vault.keys.provider import KeyClass, KeyProvider
from vault.keys.zone_secrets import ZoneSecrets
from vault.rebuild import Rebuild
from vault.records import StoreRecords

SETTLE_SECONDS = 3.0
NOT_RESTORED = (
    "principals and static keys (made anew by `init`; ids differ, so nobody is the writer of what was written before)",
    "sessions and challenges (jobs attest again)",
    "runs and what they read (until the label window has passed, hold writes to open datasets)",
    "open multipart uploads (clients begin again)",
    "column extents (versions are described again; views count as read whole)",
)


def run_maintain(settings: Settings, argv: list[str]) -> int:
    """0 done; 1 something is wrong and was told, in findings or as `error`: code, kind (of exception) and detail."""
    asked = argparse.ArgumentParser(prog="python -m gateway maintain")
    asked.add_argument("what", choices=["fsck", "rebuild", "backup", "restore"])
    asked.add_argument("directory", nargs="?", type=Path)
    asked.add_argument("--repair", action="store_true")
    asked.add_argument("--deep", action="store_true")
    asked.add_argument("--with-store", action="store_true")
    asked.add_argument("--ledger", type=Path, help="a ledger directory to compare with, newer than a backup's")
    given = asked.parse_args(argv)
    work: Mapping[str, Callable[[Settings, argparse.Namespace], tuple[dict[str, Any], bool]]] = {
        "fsck": _fsck, "rebuild": _rebuild, "backup": _backup, "restore": _restore,
    }  # fmt: skip
    try:
        document, good = work[given.what](settings, given)
    except (VaultError, LineageError) as error:
        document, good = {
            "error": {"code": error.reason, "kind": type(error).__name__, "detail": error.detail},
        }, False  # fmt: skip
    print(json.dumps({"command": given.what, "zone": settings.zone, "ok": good} | document, sort_keys=True))
    return 0 if good else 1


def _progress(what: str, count: int = 0) -> None:
    print(f"{what}: {count}" if count else what, file=sys.stderr, flush=True)


def _fsck(settings: Settings, given: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    providers = open_providers(settings)
    catalog = open_catalog(settings, _mac_key(settings, providers))
    keys = KeyRing(providers, catalog, now_ms) if given.deep else None
    found = Fsck(
        open_store(settings), catalog, settings.zone, keys=keys, repair=given.repair, progress=_progress,
        settle=lambda: time.sleep(SETTLE_SECONDS),
        evidence=read_evidence(given.ledger or settings.ledger_dir, settings.tenant),
    ).run()  # fmt: skip
    return {
        "looked_at": dict(found.looked_at), "findings": [asdict(each) for each in found.findings],
        "remaining": len(found.remaining),
    }, not found.remaining  # fmt: skip


def _rebuild(settings: Settings, given: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    providers = open_providers(settings)
    mac_key = _mac_key(settings, providers)
    Database(settings.catalog_location).upgrade()
    catalog, store = open_catalog(settings, mac_key), open_store(settings)
    report = Rebuild(
        store, catalog, KeyRing(providers, catalog, now_ms), settings.zone, progress=_progress,
        evidence=read_evidence(given.ledger or settings.ledger_dir, settings.tenant),
    ).run()  # fmt: skip
    settle_epochs(catalog, settings.zone, providers)
    queued = _queue_views(catalog, settings.zone)
    StoreRecords(store, catalog, settings.zone).reconcile()
    return {
        "restored": dict(report.restored), "refused": report.refused, "missing": report.missing,
        "notes": report.notes, "views_queued": queued, "not_restored": NOT_RESTORED,
    }, report.clean  # fmt: skip


def _queue_views(catalog: Catalog, zone: str) -> int:
    """What was still to be built when the catalog was lost: nobody knows any more, so everything that lacks a view."""
    from gateway.jobs.builder import BUILDER_VERSION

    queued = 0
    for dataset in catalog.datasets():
        plans = {plan.plan_id for plan in catalog.plans(dataset.dataset_id) if plan.purpose_class != DECLASSIFIED}
        for plan_id in sorted(plans) if dataset.zone == zone and dataset.label != "none" else ():
            while missing := catalog.versions_without_view(dataset.dataset_id, plan_id):
                for version in missing:
                    catalog.request_view(version, plan_id, BUILDER_VERSION, version.record)
                queued += len(missing)
    return queued


def _backup(settings: Settings, given: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    catalog = open_catalog(settings, _mac_key(settings, open_providers(settings)))
    taken = back_up(
        _places(settings), _needed(given), lambda: {row.dataset_id: row.sequence for row in catalog.every_dataset()},
        rfc3339(now_ms()), with_store=given.with_store, progress=_progress,
    )  # fmt: skip
    return {
        "files": len(taken.files), "bytes": sum(int(str(each["size"])) for each in taken.files.values()),
        "store": "copied" if given.with_store else "not copied: left to the store's own replication",
        "keys": "never: keep the provider's folder or credentials, the signing key and the static key apart",
    }, True  # fmt: skip


def _restore(settings: Settings, given: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    """A backup that a newer ledger has overtaken is put back, and said to be older: workers refuse what is behind."""
    document = restore(_needed(given), _places(settings), progress=_progress)
    providers = open_providers(settings)
    Database(settings.catalog_location).upgrade()
    catalog = open_catalog(settings, _mac_key(settings, providers))
    evidence = read_evidence(given.ledger or settings.ledger_dir, settings.tenant)
    _progress("keys")
    adopted = adopt(open_store(settings), catalog, settings.zone, providers, evidence)
    older: list[Finding] = list(behind(catalog, evidence)) if evidence else []
    return {
        "made_at": document["made_at"], "keys_adopted": adopted.keys, "withdrawn": adopted.withdrawn,
        "without_a_key": adopted.left, "behind_the_ledger": [asdict(each) for each in older],
    }, not older and not adopted.left  # fmt: skip


def _places(settings: Settings) -> Places:
    store = settings.store_location
    return Places(
        settings.zone, settings.tenant, settings.catalog_location, settings.ledger_dir, settings.zone_dir / "decisions",
        settings.lineage_graph, Path(store.removeprefix("file://")) if store.startswith("file://") else None,
    )  # fmt: skip


def _needed(given: argparse.Namespace) -> Path:
    if given.directory is None:
        raise Refused("backup.directory", "name a directory")
    return Path(given.directory)


def _mac_key(settings: Settings, providers: Mapping[KeyClass, KeyProvider]) -> bytes:
    """Refused("secret.missing") rather than a new one: under another key nothing of the old zone would open."""
    keys = settings.zone_dir / "keys"
    if not (keys / "secrets" / "root.wrapped").exists():
        raise Refused("secret.missing", f"{keys / 'secrets'}: put the zone's wrapped secrets back first")
    return ZoneSecrets(keys, DeadlineProvider(providers[KeyClass.RAW])).derived("catalog-mac")
