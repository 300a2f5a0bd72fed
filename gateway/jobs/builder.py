"""Builds views: leases a job, opens the version under that lease, has a sandbox mask it, seals and commits.

The broker side of design §3's "view builders": it has the network and the catalog and parses nothing; the
decoder child parses and has neither. Order and refusals: docs/spec/views.md §6.
"""

import logging
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from gateway.enforce.confinement import RLIMITS
from gateway.enforce.errors import PlanRefused, SandboxFailed, Undecodable
from gateway.enforce.plan import Effect, parse_effect
from gateway.enforce.protocol import SandboxJob
from gateway.enforce.rendered import Rendered
from gateway.enforce.supervisor import Sandbox
from gateway.jobs.build_source import BuildSource, open_source, sealed_reads
from gateway.jobs.lease import LEASE_MS, KeptLease
from gateway.record import rfc3339
from vault.catalog.catalog import Catalog
from vault.catalog.jobs import MAX_ATTEMPTS
from vault.catalog.rows import JobRow, VersionRow, ViewRow
from vault.errors import Conflict, Unavailable, VaultError
from vault.objects import Facts, PutWriter, SealedVersion, Vault

BUILDER_VERSION = "1"
KINDS = ("view", "describe")
IDLE_SECONDS = 0.2
PAUSE_SECONDS = 2.0
_AGAIN = frozenset({"decoder.crashed", "sandbox.deadline", "sandbox.confinement"})
_CONTENT_TYPES = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}
log = logging.getLogger("demesne.builder")


class PseudonymKeys(Protocol):
    """What the builder asks of the broker besides what the vault asks: `BrokerClient`, or `Broker` itself."""

    def pseudonym_key(self, tenant: str, purpose_class: str, job_id: str, fence: int) -> bytes: ...


class Builder:
    """One builder process. Not for several threads: one job at a time, one spare child warm for the next."""

    def __init__(
        self,
        vault: Vault,
        catalog: Catalog,
        broker: PseudonymKeys,
        ledger_append: Callable[[dict[str, Any]], None],
        sandbox_command: list[str],
        clock: Callable[[], int],
        *,
        holder: str = "builder",
        required: frozenset[str] = frozenset({RLIMITS}),
    ) -> None:
        """`ledger_append` returns when the entry is durable; `clock` gives milliseconds since the epoch."""
        self._vault = vault
        self._catalog = catalog
        self._broker = broker
        self._append = ledger_append
        self._command = sandbox_command
        self._clock = clock
        self._holder = holder
        self._required = required
        self._spare: Sandbox | None = None

    def serve(self, stop: threading.Event) -> None:
        """Work until `stop` is set. A dependency that is away is waited for; nothing ends this loop but `stop`."""
        try:
            self._warm()
            while not stop.is_set():
                try:
                    idle = not self.run_once()
                    pause = IDLE_SECONDS if idle else 0.0
                except VaultError as error:
                    log.warning("builder waits: %s", error.reason)
                    pause = PAUSE_SECONDS
                # The outermost handler of the process: the job's lease runs out and it is tried again, or given up.
                except Exception:
                    log.exception("builder: a job ended in an error of ours")
                    pause = PAUSE_SECONDS
                stop.wait(pause)
        finally:
            self.close()

    def close(self) -> None:
        """End the warm child."""
        spare, self._spare = self._spare, None
        if spare is not None:
            spare.kill()

    def run_once(self) -> bool:
        """Do one job if there is one. Raises VaultError only where the catalog itself is away."""
        job = self._catalog.lease(KINDS, self._holder, LEASE_MS)
        if job is None:
            return False
        try:
            if job.attempts > MAX_ATTEMPTS:
                self._give_up(job, "builder.attempts")
            elif job.kind == "view":
                self._view(job)
            else:
                self._describe(job)
        except (PlanRefused, Undecodable) as error:
            self._give_up(job, error.reason)
        except SandboxFailed as error:
            self._again(job, error.reason) if error.reason in _AGAIN else self._give_up(job, error.reason)
        except Conflict as error:
            # Another holder has the job, or the version went away meanwhile: nothing of this build is left.
            log.info("build given over: %s", error.reason)
        except Unavailable as error:
            self._again(job, error.reason)
        except VaultError as error:
            self._give_up(job, error.reason)
        return True

    def _view(self, job: JobRow) -> None:
        view = self._catalog.find_view(job.subject["view_id"])
        if view is None or view.state == "ready" or view.reason == "version.deleted":
            self._catalog.finish(job)
            return
        source = open_source(self._vault, job)
        if source is None:
            self._give_up(job, "version.deleted")
            return
        version = source.version
        effect, purpose_class, document = self._plan(view, version)
        if version.format == "opaque" and not effect.identity:
            raise Undecodable("format.opaque")
        key = None
        if effect.pseudonymizes:
            key = self._broker.pseudonym_key(version.tenant, purpose_class, job.job_id, job.fence)
        asked = SandboxJob("view", version.format, source.bodies, document, purpose_class, key)
        self._catalog.view_building(view.view_id, 0)
        lease = KeptLease(self._catalog, self._clock, job, view.view_id)
        sealed, rendered = self._rendered(source, view, asked, lease)
        self._commit(sealed, rendered, view, source, job)

    def _rendered(
        self, source: BuildSource, view: ViewRow, asked: SandboxJob, lease: KeptLease
    ) -> tuple[SealedVersion, Rendered]:
        version = source.version
        writer: PutWriter = self._vault.begin_view(version, view, _content_type(asked, version))
        try:
            rendered = self._ask(source, asked, writer.write, lease)
            sealed = writer.finish(Facts(version.label, version.placement, version.contract_version))
        except BaseException:
            writer.abort()
            raise
        return sealed, rendered

    def _commit(
        self, sealed: SealedVersion, rendered: Rendered, view: ViewRow, source: BuildSource, job: JobRow
    ) -> None:
        version = source.version
        try:
            record = self._record(view, "ready", sealed.size, "")
        except BaseException:
            self._vault.discard(sealed)
            raise
        extents = rendered.columns or None
        self._vault.commit_view(sealed, record, columns=extents, builder=BUILDER_VERSION)
        if rendered.source_columns:
            self._catalog.set_columns(version.dataset_id, version.version_id, rendered.source_columns, record)
        self._catalog.finish(job)

    def _describe(self, job: JobRow) -> None:
        source = open_source(self._vault, job)
        if source is not None and self._catalog.columns(source.version.version_id) is None:
            version = source.version
            asked = SandboxJob("describe", version.format, source.bodies)
            found = self._ask(source, asked, _no_output, KeptLease(self._catalog, self._clock, job, None))
            self._catalog.set_columns(version.dataset_id, version.version_id, found.source_columns, version.record)
        self._catalog.finish(job)

    def _plan(self, view: ViewRow, version: VersionRow) -> tuple[Effect, str, dict[str, Any]]:
        """The effect this view is under, its purpose class, its document. Raises PlanRefused."""
        rows = [row for row in self._catalog.plans(view.dataset_id) if row.plan_id == view.plan_id]
        if not rows:
            raise PlanRefused("plan.retired")
        document, purpose_class = dict(rows[0].effect), rows[0].purpose_class
        effect = parse_effect(document, purpose_class=purpose_class)
        if effect.plan_id != view.plan_id:
            raise PlanRefused("plan.malformed")
        if effect.identity and version.label != "none":
            raise PlanRefused("plan.identity")
        if effect.pseudonymizes and len({row.purpose_class for row in rows}) > 1:
            raise PlanRefused("plan.purpose-class")
        return effect, purpose_class, document

    def _ask(
        self, source: BuildSource, asked: SandboxJob, write: Callable[[bytes], None], lease: KeptLease
    ) -> Rendered:
        """Run `asked` in a child of its own, which does not outlive this call."""
        child, self._spare = self._spare or self._start(), None
        try:
            with child, sealed_reads(self._vault, source, lease.keep) as read:
                return child.run(asked, read, write, lease.progress)
        finally:
            self._warm()

    def _start(self) -> Sandbox:
        return Sandbox(self._command, required=self._required)

    def _warm(self) -> None:
        """Have the next child load its libraries while this process waits for work."""
        if self._spare is None:
            self._spare = self._start()

    def _again(self, job: JobRow, reason: str) -> None:
        if job.attempts >= MAX_ATTEMPTS:
            self._give_up(job, reason)
            return
        with self._lost_is_fine():
            self._catalog.fail(job, reason)

    def _give_up(self, job: JobRow, reason: str) -> None:
        """The view fails for good, the job ends, and both say why by a name that holds no value."""
        with self._lost_is_fine():
            self._catalog.fail(job, reason, retry=False)
            if job.kind != "view":
                return
            view = self._catalog.find_view(job.subject["view_id"])
            if view is not None and view.state != "ready":
                self._catalog.view_failed(view.view_id, reason)
                self._record(view, "failed", 0, reason)

    @contextmanager
    def _lost_is_fine(self) -> Iterator[None]:
        try:
            yield
        except Conflict as error:
            log.info("build given over: %s", error.reason)

    def _record(self, view: ViewRow, state: str, size: int, reason: str) -> str:
        entry_id = secrets.token_hex(16)
        self._append(
            {
                "v": 1, "type": "view", "id": entry_id, "at": rfc3339(self._clock()), "zone": self._vault.zone,
                "tenant": view.tenant, "dataset_id": view.dataset_id, "version": view.version_id, "view": view.view_id,
                "plan": view.plan_id, "builder": BUILDER_VERSION, "state": state, "bytes": size, "reason": reason,
            }
        )  # fmt: skip
        return entry_id


def _content_type(asked: SandboxJob, version: VersionRow) -> str:
    """A view's own. The object's is what its writer sent, and a header's parameters hold anything: only what was
    declassified keeps it."""
    if asked.effect is not None and asked.effect.get("identity") is True:
        return version.content_type
    return _CONTENT_TYPES.get(asked.format, "application/octet-stream")


def _no_output(_: bytes) -> None:
    raise SandboxFailed("sandbox.output")


