"""Carries out orders about keys: asks the broker for one step after the other, and does what catalog and store owe.

    shred   withdraw the versions → broker: … erased → record what was moved in the store → broker: destroyed
            → bodies leave the store → certificate

Each round looks at what the rows say, so a keeper that died is followed by another one where it stopped. The broker
checks approvals and seals by itself; this only says when.
"""

import hashlib
from collections.abc import Callable

import structlog

from gateway.jobs.certificate import CertificateFacts, certificate_of
from gateway.record import Entry, Recorder
from lineage.errors import Unavailable as LedgerUnavailable
from vault.broker.orders import order_sha256
from vault.broker.types import KeyKeeper, KeyOrderState
from vault.catalog.catalog import Catalog
from vault.catalog.key_request_rows import ErasureRow, KeyRequestRow
from vault.errors import Conflict, VaultError
from vault.objects import Vault

SIGNED = b"demesne/erasure/1\n"
OPEN_STATES = ("approved", "running", "waiting")
RETRY_MS = 30_000
STEPS_A_ROUND = 10_000
Append = Callable[[Entry], int]
"""Write an entry; answers its index in the ledger."""
Sign = Callable[[bytes], bytes]
log = structlog.get_logger("keeper")


class Keeper:
    """One duty of the jobs process (`keys`)."""

    def __init__(
        self, vault: Vault, catalog: Catalog, broker: KeyKeeper, append: Append, recorder: Recorder, sign: Sign,
        clock: Callable[[], int], zone: str,
    ) -> None:  # fmt: skip
        self._vault = vault
        self._catalog = catalog
        self._broker = broker
        self._append = append
        self._recorder = recorder
        self._sign = sign
        self._clock = clock
        self._zone = zone
        self._later: dict[str, int] = {}
        self._told: set[str] = set()

    def __call__(self) -> None:
        """One round over every open order, oldest first; one that cannot go on now does not hold up the others."""
        self.certify_missing()
        for row in self._catalog.key_requests_in(OPEN_STATES):
            if self._clock() < max(row.execute_at, self._later.get(row.request_id, 0)):
                continue
            try:
                self._carry_out(row)
                self._later.pop(row.request_id, None)
            except (VaultError, LedgerUnavailable) as error:  # the ledger's: a removal that cannot be recorded
                if not isinstance(error, Conflict):
                    self._later[row.request_id] = self._clock() + RETRY_MS
                self._catalog.key_progress(row.request_id, {"waits_for": error.reason})
                log.warning("order waits", request=row.request_id, action=row.action, reason=error.reason)

    def _carry_out(self, row: KeyRequestRow) -> None:
        if row.action == "shred":
            self._shred(row)
            return
        if row.action in {"destroy", "rewrap"}:
            self._vault.records.reconcile()
        state = self._until(row.request_id, lambda found: found.state not in {"approved", "running"})
        if row.action == "rewrap" and state.state == "done":
            self._vault.records.reconcile()

    def _shred(self, row: KeyRequestRow) -> None:
        versions = list(row.document["versions"])
        self._withdraw(row, versions)
        state = self._until(
            row.request_id, lambda found: found.step == "erased" or found.state not in {"approved", "running"}
        )
        if state.step == "erased":
            self._vault.keep_moved(row.dataset_id, row.created_at)
        if state.state in {"running", "waiting"}:
            state = self._broker.key_step(row.request_id, recorded=True)
        if state.state in {"waiting", "done"}:
            self._vault.remove_erased(row.dataset_id, versions)
            self.certify(row.request_id)

    def _withdraw(self, row: KeyRequestRow, versions: list[str]) -> None:
        """Only what the broker says is approved: a row alone is what anybody with SQL may have written."""
        if row.step != "":
            return
        self._record_removals(row, versions)
        try:
            self._broker.key_step(row.request_id)
        except Conflict as error:
            if error.reason != "key.not-withdrawn" or error.detail != order_sha256(row.document):
                raise
            self._vault.withdraw(row.dataset_id, versions, row.approval)
            self._record_removals(row, versions)

    def _record_removals(self, row: KeyRequestRow, versions: list[str]) -> None:
        """As for a DELETE: a catalog that is rebuilt or put back knows from the ledger that these are gone. Once all of
        them are, and before any key is; a keeper that died in between is followed by one that finds them gone."""
        held = self._catalog.find_dataset(row.dataset_id)
        found = [self._catalog.known_version(row.dataset_id, each) for each in versions]
        if row.request_id in self._told or held is None or any(one and one.state == "live" for one in found):
            return
        for known in filter(None, found):
            self._append(self._recorder.event(
                "removal", self._clock(), dataset_id=row.dataset_id, dataset=held.name,
                object=self._recorder.object(known.key), sequence=held.sequence, marker=None,
                version=known.version_id, intent=row.approval,
            ))  # fmt: skip
        self._told.add(row.request_id)

    def _until(self, request_id: str, enough: Callable[[KeyOrderState], bool]) -> KeyOrderState:
        for _ in range(STEPS_A_ROUND):
            state = self._broker.key_step(request_id)
            if enough(state):
                return state
        return state

    def certify(self, request_id: str) -> ErasureRow:
        """Write, record and sign the certificate; again when the provider has destroyed what was pending."""
        row = self._catalog.find_key_request(request_id)
        known = self._catalog.find_erasure(request_id)
        if row is None:
            raise Conflict("key.request", request_id)
        state = "destroyed" if row.state == "done" else "pending"
        if known is not None and known.state == state:
            return known
        views = self._catalog.views_of_versions(row.dataset_id, list(row.document["versions"]))
        core = certificate_of(CertificateFacts(row, state, len(views), self._clock(), self._zone))
        said = self._recorder.event(
            "erasure", self._clock(), request=request_id, dataset_id=row.dataset_id, state=state,
            certificate_sha256=hashlib.sha256(core.canonical).hexdigest(),
        )  # fmt: skip
        text = core.with_ledger(str(said["id"]), self._append(said))
        signature = self._sign(SIGNED + text.encode())
        made = ErasureRow(row.tenant, request_id, row.dataset_id, state, text, signature, self._clock())
        self._catalog.put_erasure(made)
        return made

    def certify_missing(self) -> None:
        """After a keeper that died between the last key and the certificate."""
        for row in self._catalog.uncertified():
            self._vault.remove_erased(row.dataset_id, list(row.document["versions"]))
            self.certify(row.request_id)
