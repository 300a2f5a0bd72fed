"""What the child does once it is locked in: choose the renderer, run it, translate every error to a reason."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from gateway.enforce import protocol
from gateway.enforce.actions import Masker
from gateway.enforce.columns import FOOTER, Extents, whole_object
from gateway.enforce.csv_view import describe_csv, render_csv
from gateway.enforce.errors import EnforceError, Undecodable
from gateway.enforce.limits import MIB, Limits
from gateway.enforce.parquet_view import describe_parquet, render_parquet
from gateway.enforce.plan import Effect, parse_effect
from gateway.enforce.rendered import Rendered, Source
from gateway.enforce.sealed_source import SealedSource, read_request

if TYPE_CHECKING:
    from gateway.enforce.pipe import Pipe

_RENDER: dict[str, Callable[..., Rendered]] = {"parquet": render_parquet, "csv": render_csv}
_DESCRIBE: dict[str, Callable[[Source, Limits], Rendered]] = {"parquet": describe_parquet, "csv": describe_csv}


class Work:
    """One job over one pipe."""

    def __init__(self, pipe: "Pipe") -> None:
        self._pipe = pipe
        self._percent = -1

    def run(self, job: protocol.SandboxJob) -> None:
        source = SealedSource(job.bodies, self._ask)
        try:
            rendered = self._render(job, source)
        # The outermost handler: whatever a hostile file makes the decoder raise, only its reason leaves.
        except BaseException as error:  # noqa: BLE001
            self._fail(reason_of(error, job.format, source))
        else:
            self._pipe.send(protocol.END, _end(rendered, job.size))

    def _render(self, job: protocol.SandboxJob, source: SealedSource) -> Rendered:
        if job.task == "describe":
            if job.format not in _DESCRIBE:
                raise Undecodable("format.opaque")
            return _DESCRIBE[job.format](source, job.limits)
        effect = parse_effect(job.effect, purpose_class=job.purpose_class)
        if effect.identity:
            return self._copy(source)
        if job.format not in _RENDER:
            raise Undecodable("format.opaque")
        masker = Masker(job.pseudonym_key)
        return _RENDER[job.format](
            source, effect, masker, self._pipe.data, limits=job.limits, progress=self._progress
        )

    def _copy(self, source: SealedSource) -> Rendered:
        for offset in range(0, source.size, MIB):
            self._pipe.data(source.read_at(offset, min(MIB, source.size - offset)))
            self._progress((offset + MIB) * 100 // source.size)
        return Rendered(rows=0)

    def _ask(self, body: int, offset: int, length: int) -> bytes:
        kind, sealed = self._pipe.ask(protocol.READ, read_request(body, offset, length))
        if kind != protocol.SEALED or len(sealed) != length:
            raise BrokenPipeError
        return sealed

    def _progress(self, percent: int) -> None:
        percent = max(0, min(99, percent))
        if percent > self._percent:
            self._percent = percent
            self._pipe.send(protocol.PROGRESS, bytes([percent]))

    def _fail(self, reason: str) -> None:
        self._pipe.send(protocol.FAILED, json.dumps(reason).encode())


def reason_of(error: BaseException, kind: str, source: SealedSource) -> str:
    """The name of what went wrong; the message is never looked at, since decoders quote values in it."""
    if source.failed:
        # A decoder may wrap or swallow what the source raised; the source remembers.
        return "sealed.unverified"
    match error:
        case EnforceError():
            return error.reason
        case MemoryError():  # pa.ArrowMemoryError is one
            return "decoder.memory"
        case pa.ArrowNotImplementedError():
            return "parquet.unsupported"
        case pa.ArrowException() | OSError() | ValueError() | EOFError() | KeyError() | OverflowError():
            return "csv.malformed" if kind == "csv" else "parquet.malformed"
        case _:
            return "decoder.failed"


def _end(rendered: Rendered, size: int) -> bytes:
    payload = protocol.encode_end(rendered)
    if len(payload) <= protocol.MAX_EXTENTS:
        return payload
    # Many thousand chunks: coarser, never silent. A read is then charged to every column.
    coarse = Rendered(
        rendered.rows, _coarse(rendered.columns, rendered.rows), _coarse(rendered.source_columns, rendered.rows, size)
    )
    return protocol.encode_end(coarse)


def _coarse(extents: Extents, cells: int, size: int | None = None) -> Extents:
    names = [name for name, _ in extents if name != FOOTER]
    end = max((offset + length for _, parts in extents for offset, length, _ in parts), default=0)
    return whole_object(names, end if size is None else size, cells)


class _Bytes:
    """A Source over bytes, for warming up."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def size(self) -> int:
        return len(self._data)

    def read_at(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]


def warm_up() -> None:
    """Run every road once on harmless data: what loads late (codecs, kernels, time zones) loads now, because
    after `confine_calls` nothing can be opened any more."""
    pa.set_memory_pool(pa.system_memory_pool())
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    limits, masker, effect = Limits(), Masker(bytes(32)), _warm_effect()
    stamps = pa.array([0, None], pa.timestamp("us", "UTC"))
    table = pa.table(
        {
            "keep": ["a", None], "drop": [1, 2], "null": [1, 2], "default": [1.5, None], "name": ["b", None],
            "year": stamps, "month": ["1999-01-01", "x"], "when": stamps, "prefix": ["12345", None],
            "bin": [12, None], "float": [1.5, None], "amount": pa.array([1, None], pa.decimal128(9, 2)),
        }
    )  # fmt: skip
    for codec in ("none", "snappy", "gzip", "brotli", "lz4", "zstd"):
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression=codec)
        source = _Bytes(sink.getvalue().to_pybytes())
        render_parquet(source, effect, masker, lambda _: None, limits=limits)
    header = ",".join(table.column_names)
    rows = (header + "\n" + ",".join(["1"] * table.num_columns) + "\n").encode()
    render_csv(_Bytes(rows), effect, masker, lambda _: None, limits=limits)
    for broken in (b"PAR1" + bytes(32) + b"PAR1", rows + b"1,2\n"):
        try:
            (render_parquet if broken[:1] == b"P" else render_csv)(
                _Bytes(broken), effect, masker, lambda _: None, limits=limits
            )
        except (EnforceError, pa.ArrowException, OSError):
            continue


def _warm_effect() -> Effect:
    rules: list[tuple[str, str, dict[str, Any]]] = [
        ("keep", "keep", {}), ("drop", "drop", {}), ("null", "null", {}), ("default", "mask-to-default", {}),
        ("name", "pseudonymize", {}), ("year", "generalize", {"to": "decade"}), ("when", "pseudonymize", {}),
        ("month", "generalize", {"to": "month"}), ("prefix", "generalize", {"prefix": 2}),
        ("bin", "generalize", {"bin": 10}), ("float", "generalize", {"bin": 10}), ("amount", "pseudonymize", {}),
    ]  # fmt: skip
    return parse_effect({"columns": [{"name": n, "action": a, "params": p} for n, a, p in rules]})
