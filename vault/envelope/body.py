"""Bodies: Cobblestone-256 with random access. Bytes in, bytes out; no store, no clock.

    body = salt(24) ‖ commitment(32) ‖ chunk_0 … chunk_n      chunk = AES-256-GCM(16 KiB, the last always shorter)
    key(32) ‖ base nonce(12) ‖ commitment = HKDF-Expand-SHA-512(data key, label ‖ 0x00 ‖ salt ‖ context)
    nonce of chunk k = base nonce XOR k

Source: c2sp.org/chunked-encryption; `docs/spec/sealed-object.md` §2 and §5.
"""

import hmac
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

from cryptography.cobblestone import Cobblestone256Decryptor
from cryptography.exceptions import InvalidTag

from vault.envelope.schedule import schedule
from vault.envelope.slabs import Slabs
from vault.envelope.suite import CHUNK, HEADER, MAX_CHUNKS, NONCE, SALT, SEALED_CHUNK, TAG, plain_length
from vault.errors import Broken, Malformed

Readable = bytes | bytearray | memoryview
SLAB = 1 << 20
RUN_FROM = 4 * CHUNK  # plaintext bytes from which a run pays for its own key schedule


@dataclass(frozen=True, slots=True)
class BodyPin:
    """What an authenticated manifest says of a body: its stored length and its commitment (32 bytes)."""

    sealed_length: int
    commitment: bytes


class BodySealer:
    """Seals one body as it arrives. Write `header` first, then what `update` and `finalize` return.

    Every write attempt makes a new sealer: the salt is fresh, so a retry or crash can never reuse a nonce, and a
    half-written body is never resumed. What `update` returns may be a view; its buffer is used again only after
    all views of it are gone. One caller at a time.
    """

    __slots__ = ("_aead", "_base", "_chunk", "_done", "_filled", "_partial", "_slabs", "commitment", "header")

    def __init__(self, data_key: bytes, context: bytes, entropy: Callable[[int], bytes] = os.urandom) -> None:
        """`entropy` is another one for vectors only: a salt that repeats under a key is a nonce that repeats."""
        salt = entropy(SALT)
        self._aead, self._base, self.commitment = schedule(data_key, salt, context)
        self.header = salt + self.commitment
        self._partial = bytearray(CHUNK)
        self._filled = 0
        self._chunk = 0
        self._done = False
        self._slabs = Slabs(SLAB + (SLAB // CHUNK + 1) * TAG + CHUNK)

    def update(self, data: Readable) -> Readable:
        """The whole chunks that `data` completes, sealed; b"" where it completes none.

        Raises Broken "sealer.finished" after finalize, Malformed "length" beyond 2^38 chunks.
        """
        if self._done:
            raise Broken("sealer.finished")
        source = memoryview(data).cast("B")
        chunks = (self._filled + len(source)) // CHUNK
        if self._chunk + chunks >= MAX_CHUNKS:
            raise Malformed("length", "more than 2^38 chunks")
        sealed = self._seal_whole(source, chunks) if chunks else b""
        start = max(0, chunks * CHUNK - self._filled) if chunks else 0
        kept = 0 if chunks else self._filled
        self._filled = kept + len(source) - start
        self._partial[kept : self._filled] = source[start:]
        return sealed

    def _seal_whole(self, source: memoryview, chunks: int) -> memoryview:
        length = chunks * SEALED_CHUNK
        out = memoryview(self._slabs.take() if length <= SLAB + SLAB // CHUNK * TAG else bytearray(length))
        encrypt, base, at, done = self._aead.encrypt_into, self._base, 0, 0
        if self._filled:
            at = CHUNK - self._filled
            self._partial[self._filled :] = source[:at]
            encrypt((base ^ self._chunk).to_bytes(NONCE, "big"), self._partial, None, out[:SEALED_CHUNK])
            done = 1
        for number in range(done, chunks):
            nonce = (base ^ (self._chunk + number)).to_bytes(NONCE, "big")
            place = number * SEALED_CHUNK
            encrypt(nonce, source[at : at + CHUNK], None, out[place : place + SEALED_CHUNK])
            at += CHUNK
        self._chunk += chunks
        return out[:length]

    def finalize(self) -> bytes:
        """The last chunk, always short, possibly empty. Raises Broken "sealer.finished" the second time."""
        if self._done:
            raise Broken("sealer.finished")
        self._done = True
        nonce = (self._base ^ self._chunk).to_bytes(NONCE, "big")
        return self._aead.encrypt(nonce, bytes(memoryview(self._partial)[: self._filled]), None)


class _Run:
    """Whole chunks in order from the first on: the library's own Cobblestone, one call a slab in place of one a
    chunk. It derives the key and checks the commitment again; nonces, tags and wire format are the same ones."""

    __slots__ = ("_decryptor", "chunks")

    def __init__(self, data_key: bytes, context: bytes, header: bytes) -> None:
        self._decryptor = Cobblestone256Decryptor(data_key, context)
        self._decryptor.update_into(header, bytearray(HEADER + CHUNK))
        self.chunks = 0

    def open_into(self, sealed: memoryview, out: bytearray) -> int:
        """The plaintext bytes written. Raises InvalidTag; `out` may then hold what did not authenticate."""
        self.chunks += len(sealed) // SEALED_CHUNK
        return self._decryptor.update_into(sealed, out)


class BodyOpener:
    """Opens spans of one body, verifying each chunk before a byte of it leaves.

    `sealed_length` is the length the store reports; `pin` is what the manifest says. With a pin both must agree
    before anything is opened. Without one, the last chunk has to authenticate the length first (`check_end`,
    which `stream` calls by itself): otherwise an early range of a truncated body would open. The first failure
    is final: the same failure is raised ever after. One caller at a time.
    """

    __slots__ = (
        "_aead", "_base", "_end_known", "_failure", "_new_run", "_slabs", "plain_length", "sealed_length",
    )  # fmt: skip

    def __init__(
        self, data_key: bytes, context: bytes, header: Readable, sealed_length: int, pin: BodyPin | None = None
    ) -> None:
        """Raises Malformed "truncated" or "length" (impossible, or not the pinned one), then "commitment"."""
        if pin is not None and sealed_length != pin.sealed_length:
            reason = "truncated" if sealed_length < pin.sealed_length else "length"
            raise Malformed(reason, f"{sealed_length} bytes stored, {pin.sealed_length} in the manifest")
        self.plain_length = plain_length(sealed_length)
        self.sealed_length = sealed_length
        salt, stored = bytes(header[:SALT]), bytes(header[SALT:])
        self._aead, self._base, commitment = schedule(data_key, salt, context)
        # Before any chunk: without it one body can open under two keys to two plaintexts (a salamander).
        if not hmac.compare_digest(commitment, stored):
            raise Malformed("commitment", "another key, another context, or a changed header")
        if pin is not None and not hmac.compare_digest(commitment, pin.commitment):
            raise Malformed("commitment", "not the one in the manifest")
        self._end_known = pin is not None
        self._new_run = partial(_Run, data_key, context, bytes(header))
        self._failure: str | None = None
        self._slabs: Slabs | None = None

    @property
    def end_span(self) -> tuple[int, int]:
        """(offset, length) of the last chunk in the stored body."""
        offset = HEADER + self.plain_length // CHUNK * SEALED_CHUNK
        return offset, self.sealed_length - offset

    def check_end(self, sealed: Readable) -> None:
        """Authenticate the body's length by its last chunk (`end_span`). Raises Malformed "tag" or "truncated"."""
        self._open(self.plain_length // CHUNK, memoryview(sealed).cast("B"), bytearray(CHUNK))

    def sealed_span(self, start: int, stop: int) -> tuple[int, int]:
        """(offset, length) of the stored chunks that hold plaintext [start, stop). (offset, 0) if it is empty.

        Raises Broken "span" unless 0 <= start <= stop <= plain_length: ranges are settled before they come here.
        """
        if not 0 <= start <= stop <= self.plain_length:
            raise Broken("span", f"[{start}, {stop}) of {self.plain_length}")
        offset = HEADER + start // CHUNK * SEALED_CHUNK
        if start == stop:
            return offset, 0
        return offset, min(HEADER + ((stop - 1) // CHUNK + 1) * SEALED_CHUNK, self.sealed_length) - offset

    def open_span(self, start: int, stop: int, sealed: Readable) -> bytes:
        """Plaintext [start, stop) from exactly the bytes of `sealed_span(start, stop)`. Raises as `open_into`."""
        _, length = self.sealed_span(start, stop)
        if not length:
            return b""
        out = bytearray(length // SEALED_CHUNK * CHUNK + max(0, length % SEALED_CHUNK - TAG))
        first = start // CHUNK
        self.open_into(first, memoryview(sealed), out)
        return bytes(memoryview(out)[start - first * CHUNK : stop - first * CHUNK])

    def open_into(self, first_chunk: int, sealed: memoryview, out: bytearray) -> int:
        """Open whole stored chunks from `first_chunk` on into the start of `out`; the plaintext bytes written.

        Raises Malformed "truncated" where `sealed` is not whole chunks of this body, Malformed "tag" where one
        does not authenticate (`out` is wiped then), Broken "end.unchecked" without pin or `check_end`.
        """
        view = memoryview(sealed).cast("B")
        if not self._end_known and first_chunk + -(-len(view) // SEALED_CHUNK) <= self.plain_length // CHUNK:
            raise Broken("end.unchecked", "pin the length, or authenticate the last chunk first")
        return self._open(first_chunk, view, out)

    def stream(
        self, start: int, stop: int, read_at: Callable[[int, int], Readable], slab: int = SLAB
    ) -> Iterator[memoryview]:
        """Plaintext [start, stop) in pieces of at most `slab` bytes, each verified before it is yielded.

        `read_at(offset, length)` gives stored bytes. A piece stays valid as long as it is held. Raises as
        `open_into`; after that, never end the answer cleanly.
        """
        _, length = self.sealed_span(start, stop)
        if not self._end_known:
            # Even for an empty span: that a range is empty is a statement about the length.
            self.check_end(read_at(*self.end_span))
        if not length:
            return
        whole = min(max(1, slab // CHUNK), -(-stop // CHUNK) - start // CHUNK) * CHUNK
        if self._slabs is None or self._slabs.size != whole:
            self._slabs = Slabs(whole)
        run = self._new_run() if start < CHUNK and stop - start >= RUN_FROM else None
        at = start
        while at < stop:
            first = at // CHUNK
            until = min(stop, first * CHUNK + whole)
            buffer = self._slabs.take()
            sealed = memoryview(read_at(*self.sealed_span(at, until)))
            if run is not None and len(sealed) == whole // CHUNK * SEALED_CHUNK:
                self._follow(run, first, sealed, buffer)
            else:
                self.open_into(first, sealed, buffer)
            del sealed  # what it was read into may serve another reader while this piece is on its way
            yield memoryview(buffer)[at - first * CHUNK : until - first * CHUNK]
            del buffer
            at = until

    def _follow(self, run: "_Run", first: int, sealed: memoryview, out: bytearray) -> None:
        """A slab of whole chunks, the next of a run from the body's start, in one call of the library."""
        if self._failure is not None:
            raise Malformed(self._failure, "this body failed before")
        if run.chunks != first:
            raise Broken("run.order", f"chunk {first} after {run.chunks}")
        try:
            written = run.open_into(sealed, out)
        except InvalidTag:
            out[:] = bytes(len(out))
            self._fail("tag", f"a chunk from {first} on does not authenticate")
        if written != len(out):
            raise Broken("run.length", f"{written} of {len(out)}")

    def _open(self, first: int, view: memoryview, out: bytearray) -> int:
        if self._failure is not None:
            raise Malformed(self._failure, "this body failed before")
        last = self.plain_length // CHUNK
        chunks = -(-len(view) // SEALED_CHUNK)
        ends = first + chunks - 1 == last
        expected = (chunks - 1) * SEALED_CHUNK + self.end_span[1] if ends else chunks * SEALED_CHUNK
        if not chunks or first < 0 or first + chunks - 1 > last or len(view) != expected:
            self._fail("truncated", f"{len(view)} bytes are not whole chunks from {first}")
        decrypt, base = self._aead.decrypt_into, self._base
        written = len(view) - chunks * TAG
        target = memoryview(out)
        try:
            for number in range(chunks - 1 if ends else chunks):
                nonce = (base ^ (first + number)).to_bytes(NONCE, "big")
                place, into = number * SEALED_CHUNK, number * CHUNK
                decrypt(nonce, view[place : place + SEALED_CHUNK], None, target[into : into + CHUNK])
            if ends:
                nonce = (base ^ last).to_bytes(NONCE, "big")
                decrypt(nonce, view[(chunks - 1) * SEALED_CHUNK :], None, target[(chunks - 1) * CHUNK : written])
                self._end_known = True
        except InvalidTag:
            # The library may have written what it could not authenticate; none of it may be found in a buffer.
            target[:written] = bytes(written)
            self._fail("tag", f"a chunk from {first} on does not authenticate")
        return written

    def _fail(self, reason: str, detail: str) -> NoReturn:
        self._failure = reason
        raise Malformed(reason, detail)
