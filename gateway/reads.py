"""Steps 6 to 8 of the read road (gateway/guard.py): which rendering, its key, its bytes, what became of it."""

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Literal

import structlog

from gateway.errors import BadRequest, Denied, GatewayError, NotFound, PreconditionFailed, Unavailable
from gateway.guard import Admission, Guard
from gateway.identity.principal import Principal
from gateway.open_streams import OpenStreams, still_allowed
from gateway.plans import IDENTITY_PLAN, declassified
from gateway.s3.ports import ListedObject, Listing, StoredPart
from gateway.shown import absent, grant_of, kept_checksums, modified, shown_version
from gateway.streams import PlainStream
from lineage.errors import LineageError
from vault.broker.types import Grant
from vault.catalog.catalog import Catalog
from vault.catalog.rows import VersionRow, ViewRow
from vault.envelope.manifest import Manifest
from vault.errors import VaultError
from vault.objects import Vault
from vault.reading import SealedReader
from vault.ref import DatasetRef, ObjectRef

READ_AGAIN = 4  # decisions about one read, when each time the object was overwritten before it was open
MAX_HEADS = 100_000  # of which a worker remembers what they described
Row = VersionRow | ViewRow
log = structlog.get_logger(__name__)


class Reading:
    """One decided, recorded read; the S3 dialect's `OpenRead`. Describes the caller's view and nothing else."""

    def __init__(
        self, guard: Guard, admission: Admission, version: VersionRow, row: Row, reader: SealedReader | None,
        still_allowed: Callable[[], GatewayError | None], manifest: Manifest | None, grant: Grant,
        enter: Callable[[PlainStream], None],
    ) -> None:  # fmt: skip
        """`manifest`: of what was written, where the caller sees that; None for a view. `enter` hears of its stream."""
        self._guard = guard
        self._reader = reader
        self._still_allowed = still_allowed
        self.size = row.size
        self.etag = row.etag
        self.content_type = reader.content_type if reader else version.content_type
        self.version, self.grant = version, grant
        self.last_modified = modified(row)
        described = reader.manifest if reader else manifest
        self.user_metadata: Mapping[str, str] = described.user_metadata if described else {}
        dataset = admission.facts.dataset
        self.version_id = shown_version(dataset, version) if dataset else None
        self.checksums = kept_checksums(row)
        self.as_written = row is version and reader is not None
        self._manifest = manifest
        self.view = admission.view
        self.decision_id = admission.decision_id
        self.promise = admission.promise.encode()
        self.sent = 0
        self.ranges: list[list[int]] = []
        self._stream: PlainStream | None = None
        self._enter = enter

    @property
    def parts(self) -> Sequence[StoredPart]:
        """Of an object that came in parts, as it was written; how a view's bytes were cut up is nobody's business."""
        bodies = self._manifest.bodies if self._manifest else ()
        return tuple(StoredPart(b.part, b.plain_length, b.checksums) for b in bodies if b.part)

    @property
    def tags(self) -> Mapping[str, str]:
        return self._manifest.tags if self._manifest else {}

    @property
    def tag_count(self) -> int:
        return len(self.tags)

    def charge_whole(self) -> None:
        """A copy over the same bodies: nothing was streamed, and all of it can be read elsewhere now."""
        self.sent, self.ranges = self.size, [[0, self.size]]

    def stream(self, start: int, stop: int) -> PlainStream:
        """Verified plaintext of [start, stop). One slab is unsealed while the one before it is being sent."""
        self._stream = PlainStream(self._reader, (start, stop), self, self._guard.executor, self._still_allowed)
        self._enter(self._stream)
        return self._stream

    @property
    def ended(self) -> GatewayError | None:
        """Why its stream was ended from outside; None when it was not."""
        return self._stream.ended if self._stream is not None else None

    def check_ended(self) -> None:
        """Raises why, if it was."""
        if self.ended is not None:
            raise self.ended

    @property
    def opened(self) -> PlainStream | None:
        """Its stream, once there is one."""
        return self._stream

    async def settle(self) -> None:
        """Wait for what is being unsealed for nobody any more."""
        if self._stream is not None:
            await self._stream.settle()

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()


class Reads:
    """Reads and listings of one front worker."""

    def __init__(self, guard: Guard, vault: Vault, catalog: Catalog) -> None:
        self._guard = guard
        self._vault = vault
        self._catalog = catalog
        self.streams = OpenStreams()
        self._noted: set[tuple[str, str, str]] = set()
        self._shown_by_head: OrderedDict[tuple[str, str], str] = OrderedDict()

    @asynccontextmanager
    async def open_read(
        self, principal: Principal, ref: ObjectRef, *, action: str, require_view: str | None, request_id: str
    ) -> AsyncIterator[Reading]:
        """Admit, choose the rendering, get its key; on leaving, record what became of it."""
        wanted: Literal["raw"] | None = "raw" if require_view == "raw" else None
        if require_view not in {None, "raw"}:
            raise BadRequest("InvalidArgument", "x-demesne-require-view may only be 'raw'")
        admission, reading = await self._admitted(principal, ref, action, wanted, request_id)
        try:
            yield reading
            reading.check_ended()  # cut off with its last slab unsent: not complete
        except BaseException as error:
            await self._failed(admission, reading, reading.ended or error)
            raise
        else:
            self.outcome(admission, "complete", reading)
        finally:
            if reading.opened is not None:
                self.streams.leave(reading.opened)
            await reading.settle()
            reading.close()

    async def _admitted(
        self, principal: Principal, ref: ObjectRef, action: str, wanted: Literal["raw"] | None, request_id: str
    ) -> tuple[Admission, Reading]:
        """Decide and open; decide again where what was decided about was overwritten before it was open."""
        for left in reversed(range(READ_AGAIN)):
            admission = await self._guard.admit(
                principal, "head" if action == "head" else "read", request_id=request_id,
                dataset=ref.dataset, key=ref.key, version_id=ref.version_id, require_view=wanted,
            )  # fmt: skip
            try:
                return admission, await self._open(principal, admission, action, ref.version_id)
            except BaseException as error:
                await self._failed(admission, None, error)
                if not (isinstance(error, GatewayError) and error.rule == "version.superseded" and left):
                    raise
        raise AssertionError("the last try returns or raises")

    async def _open(
        self, principal: Principal, admission: Admission, action: str, version_id: str | None = None
    ) -> Reading:
        version = admission.facts.version
        if version is None:
            raise absent(admission, version_id)
        row: Row = version
        if not _is_own_rendering(admission, version):
            row = await self._guard.blocking(self._rendering, admission, version)
        self._check_unchanged(principal, admission, version, action)
        reader, grant = None, grant_of(principal, admission)
        if admission.view != "writer":
            if action != "head":
                await self._note(admission, version)
            reader = await self._guard.blocking(self._vault.open, row, version.key, grant)
            manifest = reader.manifest if row is version else None
        else:
            manifest = await self._guard.blocking(self._vault.describe, version, version.key, grant)
        look = partial(still_allowed, self._guard.facts, principal, admission.decision_id)
        return Reading(
            self._guard, admission, version, row, reader, look, manifest, grant, partial(self._watch, principal, look)
        )

    def _watch(self, principal: Principal, look: Callable[[], GatewayError | None], stream: PlainStream) -> None:
        """What a session has open is looked at by the clock too. Static keys have nothing that could lapse."""
        if principal.session is not None:
            whose = (principal.session.session_id, principal.source, principal.client_key)
            self.streams.enter(stream, whose, look)

    def _check_unchanged(
        self, principal: Principal, admission: Admission, version: VersionRow, action: str
    ) -> None:
        """What a HEAD described stays what ranges are cut from: a client that keeps size and layout would piece
        two renderings together and take them for one. The memory is this worker's; another one has seen no HEAD."""
        name = (principal.access_key_id, version.version_id)
        if action == "head":
            self._shown_by_head[name] = admission.view
            self._shown_by_head.move_to_end(name)
            if len(self._shown_by_head) > MAX_HEADS:
                self._shown_by_head.popitem(last=False)
            return
        known = self._shown_by_head.get(name)
        if known not in {None, "writer", admission.view}:
            raise PreconditionFailed(
                "PreconditionFailed", "Your view of this object is another one since you last looked at it",
                rule="view.changed", decision_id=admission.decision_id,
                remedy="HEAD the object again (s3fs: invalidate_cache) and read it from its start",
            )  # fmt: skip

    def _rendering(self, admission: Admission, version: VersionRow) -> Row:
        """The row whose bytes the decision permits. Never a raw one for a masked decision."""
        view = admission.allow.view
        plan_id = IDENTITY_PLAN if view == "open" else admission.allow.plan_id
        if view == "masked" and plan_id not in {plan.plan_id for plan in self._catalog.plans(version.dataset_id)}:
            raise Denied(
                "AccessDenied", "The doctrine's plan for this purpose is not declared for the dataset",
                rule="masking.undeclared-plan", decision_id=admission.decision_id,
                remedy="ask the steward to write the contract again, so that its views are built",
            )  # fmt: skip
        row = self._catalog.view(version.version_id, plan_id or "")
        if row is None or row.state == "failed":
            raise Denied(
                "AccessDenied", "This object has no masked rendering",
                rule=f"view.{row.reason}" if row is not None and row.reason else "view.none",
                decision_id=admission.decision_id,
                remedy="only Parquet and CSV can be masked; others are read by attested jobs or after declassification",
            )  # fmt: skip
        if row.state != "ready":
            raise Unavailable(
                "SlowDown", f"Your view of this object is being built ({row.progress} %)", rule="view.building",
                decision_id=admission.decision_id, remedy="try again in a moment", retry_after=1,
            )  # fmt: skip
        return row

    async def _note(self, admission: Admission, version: VersionRow) -> None:
        """Labels flow by run: what is read is noted before its first byte leaves, not when a projection gets to it."""
        run_id = admission.facts.run.run_id
        noted = (run_id, version.version_id, admission.view)
        if noted in self._noted:
            return
        label = "none" if admission.allow.view == "open" else "personal"
        await self._guard.blocking(
            self._catalog.add_io, run_id, "in", version.dataset_id, version.version_id, admission.view, label,
            version.placement, admission.decision_id,
        )  # fmt: skip
        self._guard.facts.has_read(run_id, label)
        if len(self._noted) > 100_000:
            self._noted.clear()
        self._noted.add(noted)

    async def _failed(self, admission: Admission, reading: Reading | None, error: BaseException) -> None:
        cause = error.__cause__ if isinstance(error, GatewayError) else error
        reason = error.rule or error.code if isinstance(error, GatewayError) else type(error).__name__
        if isinstance(cause, VaultError) and reason.startswith("integrity."):
            event = self._guard.recorder.event(
                "integrity", self._guard.clock(), what="object", reason=reason, intent=admission.decision_id,
                dataset_id=admission.facts.dataset.dataset_id if admission.facts.dataset else None,
            )  # fmt: skip
            try:
                self._guard.ledger.append_later(event)
            except LineageError:
                log.warning("integrity event not queued", decision=admission.decision_id)
        started = reading is not None and reading.sent > 0
        self.outcome(admission, "aborted" if started else "refused", reading, reason)

    def outcome(
        self, admission: Admission, status: str, reading: Reading | None, reason: str | None = None
    ) -> None:
        """Step 8. One that is lost means "read whole", so a full backlog does not fail the read."""
        self._guard.metrics.read(admission.view, status, reading.sent if reading else 0)
        entry = self._guard.recorder.outcome(
            admission.decision_id, status, reading.sent if reading else 0, reading.ranges if reading else [],
            at=self._guard.clock(), reason=reason,
        )  # fmt: skip
        try:
            self._guard.ledger.append_later(entry)
        except LineageError:
            log.warning("outcome not queued", decision=admission.decision_id)

    async def list_objects(
        self, principal: Principal, dataset: DatasetRef, *, prefix: str, delimiter: str, after: str, limit: int,
        request_id: str,
    ) -> Listing:  # fmt: skip
        """One decision per page; sizes and ETags are those of the caller's own view."""
        admission = await self._guard.admit(principal, "list", request_id=request_id, dataset=dataset.dataset)
        row = admission.facts.dataset
        if row is None:
            raise NotFound("NoSuchBucket", "No dataset of that name is here for you")
        rendered: dict[str, Row] = {}

        def shown(versions: Sequence[VersionRow]) -> list[VersionRow]:
            found = self.shown(principal, admission, versions)
            rendered.update(found)
            return [version for version in versions if version.version_id in found]

        page = await self._guard.blocking(
            self._catalog.list_page, row.dataset_id, prefix=prefix, delimiter=delimiter, after=after, limit=limit,
            shown=shown,
        )  # fmt: skip
        self.outcome(admission, "complete", None)
        return Listing(
            objects=tuple(_listed(version, rendered[version.version_id]) for version in page.versions),
            common_prefixes=page.common_prefixes, truncated=page.truncated, last=page.last,
            decision_id=admission.decision_id, view=admission.view, promise=admission.promise.encode(),
        )  # fmt: skip

    def shown(
        self, principal: Principal, admission: Admission, versions: Sequence[VersionRow]
    ) -> dict[str, Row]:
        """By version id: the rendering the caller would be given. What has none is not the caller's to know of."""
        view = admission.allow.view
        if view == "writer":
            return {v.version_id: v for v in versions if v.written_by == principal.principal_id}
        if view == "raw":
            return {v.version_id: v for v in versions}
        identity = self._catalog.views_of([v.version_id for v in versions if declassified(v)], IDENTITY_PLAN)
        masked: dict[str, ViewRow] = {}
        if view == "masked" and admission.allow.plan_id:
            masked = self._catalog.views_of([v.version_id for v in versions], admission.allow.plan_id)
        found: dict[str, Row] = {}
        for version in versions:
            if version.key_class == "view":
                found[version.version_id] = version
                continue
            row = identity.get(version.version_id) or masked.get(version.version_id)
            if row is None or row.state == "failed":
                continue
            if row.state != "ready":
                raise Unavailable(
                    "SlowDown", "Your views of this dataset are being built", rule="view.building",
                    decision_id=admission.decision_id, remedy="try again in a moment", retry_after=1,
                )  # fmt: skip
            found[version.version_id] = row
        return found


def _is_own_rendering(admission: Admission, version: VersionRow) -> bool:
    """Whether the decision permits the version's own bytes; any other decision names a view."""
    view = admission.allow.view
    return view in {"raw", "writer"} or (view == "open" and version.key_class == "view")


def _listed(version: VersionRow, row: Row) -> ListedObject:
    return ListedObject(version.key, row.size, row.etag, modified(row), kept_checksums(row))
