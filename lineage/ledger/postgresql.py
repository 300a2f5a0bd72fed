"""The zone's log in PostgreSQL: entries, and who may sign checkpoints. Format: docs/spec/ledger.md §10.

An append is ONE statement: it takes the head's row, numbers the batch and inserts it, and ends before the client hears
of it. A gateway that is stopped half way (SIGSTOP, a long pause of its machine) therefore never holds the lock, and two
of them can never get one number: PostgreSQL lets one statement at a time through, and (zone, position) is the key.
"""

import contextlib
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from lineage.errors import Broken, Unavailable

CLOCK_BACK_MS = 5_000
LEASE_MS = 3_000
FORMAT = 1
_SCHEMA_LOCK = 0x6465_6D65_736E  # advisory: two gateways that are set up at once make the tables one after the other
_NOW = "(extract(epoch from clock_timestamp()) * 1000)::bigint"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS ledger_head (
  zone text PRIMARY KEY, format integer NOT NULL, identity text NOT NULL, public_key bytea NOT NULL,
  size bigint NOT NULL, last_at bigint NOT NULL) WITH (fillfactor = 10);
CREATE TABLE IF NOT EXISTS ledger_entry (
  zone text NOT NULL, position bigint NOT NULL, at bigint NOT NULL, entry bytea NOT NULL,
  PRIMARY KEY (zone, position));
CREATE TABLE IF NOT EXISTS ledger_sequencer (
  zone text PRIMARY KEY, fence bigint NOT NULL, holder text NOT NULL, lease_until bigint NOT NULL,
  published bigint NOT NULL, checkpoint bytea) WITH (fillfactor = 10);
CREATE OR REPLACE FUNCTION ledger_append_only() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$;
CREATE OR REPLACE TRIGGER ledger_entry_stays BEFORE UPDATE OR DELETE ON ledger_entry
  FOR EACH ROW EXECUTE FUNCTION ledger_append_only();
CREATE OR REPLACE TRIGGER ledger_entry_is_kept BEFORE TRUNCATE ON ledger_entry
  FOR EACH STATEMENT EXECUTE FUNCTION ledger_append_only();
"""

_APPEND = f"""
WITH head AS (
  UPDATE ledger_head SET size = size + %(count)s, last_at = GREATEST(last_at, %(at)s)
  WHERE zone = %(zone)s AND public_key = %(key)s AND last_at <= %(at)s + {CLOCK_BACK_MS}
  RETURNING size - %(count)s AS first, last_at
), added AS (
  INSERT INTO ledger_entry (zone, position, at, entry)
  SELECT %(zone)s, head.first + new.number - 1, head.last_at, new.entry
  FROM head, unnest(%(entries)s::bytea[]) WITH ORDINALITY AS new(entry, number)
)
SELECT first, last_at FROM head"""  # noqa: S608 - a constant of ours

# The lease is counted by the database's clock alone: hosts whose clocks differ agree on who holds it.
_LEASE = f"""
UPDATE ledger_sequencer SET holder = %(holder)s, lease_until = {_NOW} + {LEASE_MS},
  fence = CASE WHEN holder = %(holder)s AND fence = %(fence)s THEN fence ELSE fence + 1 END
WHERE zone = %(zone)s AND (lease_until < {_NOW} OR (holder = %(holder)s AND fence = %(fence)s))
RETURNING fence"""  # noqa: S608

_PUBLISH = f"""
UPDATE ledger_sequencer SET published = %(size)s, checkpoint = %(note)s
WHERE zone = %(zone)s AND holder = %(holder)s AND fence = %(fence)s AND lease_until >= {_NOW} AND published <= %(size)s
RETURNING fence"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Head:
    """`size` entries are durable, of which the checkpoint `note` (None before the first) covers `published`."""

    size: int
    published: int
    note: bytes | None


class SharedLog:
    """One connection, one thread at a time. Raises Unavailable("ledger.database") where PostgreSQL does not answer: of
    an append it is then not known whether it stands, and nothing may be served on it."""

    def __init__(self, url: str, zone: str, public_key: bytes, *, durable: bool = True) -> None:
        self._url = libpq_url(url)
        self._zone = zone
        self._key = public_key
        self._durable = durable
        self._connection: psycopg.Connection[Any] | None = None

    def initialise(self) -> str:
        """Make the tables and this zone's head; the log's own id, which no other log has. Raises as `check`."""
        with self._database() as database, database.transaction():
            database.execute("SELECT pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))
            database.execute(_SCHEMA)
            database.execute(
                "INSERT INTO ledger_head VALUES (%s, %s, %s, %s, 0, 0) ON CONFLICT DO NOTHING",
                (self._zone, FORMAT, secrets.token_hex(16), self._key),
            )
            database.execute(
                "INSERT INTO ledger_sequencer VALUES (%s, 0, '', 0, 0, NULL) ON CONFLICT DO NOTHING", (self._zone,)
            )
            found = database.execute("SELECT identity FROM ledger_head WHERE zone = %s", (self._zone,)).fetchone()
        self.check()
        return str(found[0]) if found else ""

    def check(self) -> None:
        """That this is our zone's ledger and that what it acknowledges is durable. Raises Broken("ledger.key" |
        "ledger.format" | "ledger.not-durable"), Unavailable("ledger.schema") before `initialise`."""
        try:
            with self._database() as database:
                found = database.execute(
                    "SELECT format, public_key, current_setting('fsync') FROM ledger_head WHERE zone = %s",
                    (self._zone,),
                ).fetchone()
        except Unavailable as error:
            if isinstance(error.__cause__, psycopg.errors.UndefinedTable):
                raise Unavailable("ledger.schema", "run `python -m gateway init` first") from error
            raise
        if found is None:
            raise Unavailable("ledger.schema", "run `python -m gateway init` first")
        form, key, fsync = found
        if form != FORMAT:
            raise Broken("ledger.format", f"the ledger in PostgreSQL has format {form}, this program knows {FORMAT}")
        if bytes(key) != self._key:
            raise Broken(
                "ledger.key", "another key signs this zone's ledger: every gateway of a zone needs the same signing key"
            )
        if self._durable and fsync != "on":
            raise Broken("ledger.not-durable", "PostgreSQL runs with fsync=off: what it acknowledges may be lost")

    def append(self, entries: Sequence[bytes], at: int) -> tuple[int, int]:
        """-> (position of the first, time in ms given to all of them); durable on return.

        Raises Unavailable("ledger.clock") when the clock is more than 5 s behind the newest entry."""
        given = {"zone": self._zone, "key": self._key, "count": len(entries), "at": at, "entries": list(entries)}
        with self._database() as database:
            found = database.execute(_APPEND, given, prepare=True, binary=True).fetchone()
        if found is None:
            self.check()
            raise Unavailable("ledger.clock", "this host's clock is more than 5 s behind the newest entry")
        return int(found[0]), int(found[1])

    def head(self) -> Head:
        """Raises Broken("ledger.rolled-back") when the zone's rows are gone."""
        with self._database() as database:
            found = database.execute(
                "SELECT h.size, s.published, s.checkpoint FROM ledger_head h JOIN ledger_sequencer s USING (zone)"
                " WHERE h.zone = %s AND h.public_key = %s",
                (self._zone, self._key), prepare=True,
            ).fetchone()  # fmt: skip
        if found is None:
            raise Broken("ledger.rolled-back", "the zone's ledger is no longer in PostgreSQL")
        return Head(int(found[0]), int(found[1]), None if found[2] is None else bytes(found[2]))

    def entries(self, start: int, stop: int) -> list[tuple[int, bytes]]:
        """(time in ms, entry) of [start, stop). Raises Broken("ledger.gap") when one is missing."""
        with self._database() as database:
            found = database.execute(
                "SELECT position, at, entry FROM ledger_entry WHERE zone = %s AND position >= %s AND position < %s"
                " ORDER BY position",
                (self._zone, start, stop), prepare=True, binary=True,
            ).fetchall()  # fmt: skip
        if [row[0] for row in found] != list(range(start, stop)):
            raise Broken("ledger.gap", f"PostgreSQL does not hold every entry from {start} to {stop - 1}")
        return [(int(at), bytes(entry)) for _, at, entry in found]

    def lease(self, holder: str, fence: int) -> int | None:
        """Take or keep the right to sign checkpoints: the fence, or None while somebody else has it."""
        with self._database() as database:
            found = database.execute(_LEASE, {"zone": self._zone, "holder": holder, "fence": fence}).fetchone()
        return None if found is None else int(found[0])

    def publish(self, holder: str, fence: int, size: int, note: bytes) -> bool:
        """Make `note` the zone's checkpoint; False for a late holder, whose fence is gone: nothing changed then."""
        given = {"zone": self._zone, "holder": holder, "fence": fence, "size": size, "note": note}
        with self._database() as database:
            return database.execute(_PUBLISH, given).fetchone() is not None

    def give_back(self, holder: str, fence: int) -> None:
        """End our lease now, so that another takes over without waiting for it to run out."""
        with self._database() as database:
            database.execute(
                "UPDATE ledger_sequencer SET lease_until = 0 WHERE zone = %s AND holder = %s AND fence = %s",
                (self._zone, holder, fence),
            )

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextlib.contextmanager
    def _database(self) -> Iterator[psycopg.Connection[Any]]:
        try:
            if self._connection is None or self._connection.closed:
                self._connection = _connect(self._url)
            yield self._connection
        except psycopg.Error as error:
            self.close()  # whatever state it is in: the next call begins on a new one
            raise Unavailable("ledger.database", _said(error)) from error


def libpq_url(url: str) -> str:
    """Takes it as the catalog's URL is written (postgresql+psycopg://…) too. Raises Unavailable("ledger.url")."""
    scheme, found, rest = url.partition("://")
    if not found or scheme not in {"postgresql", "postgresql+psycopg"}:
        raise Unavailable("ledger.url", "DEMESNE_LEDGER_URL must be postgresql://USER:PASSWORD@HOST/DATABASE")
    return f"postgresql://{rest}"


def _connect(url: str) -> psycopg.Connection[Any]:
    # Time-outs on the server's side: a statement that waited too long is undone there, not only forgotten here.
    options = "-c statement_timeout=4000 -c lock_timeout=3000 -c idle_in_transaction_session_timeout=5000"
    connection = psycopg.connect(url, autocommit=True, connect_timeout=3, options=options, keepalives_idle=5,
                                 keepalives_interval=2, keepalives_count=2, tcp_user_timeout=5000,
                                 application_name="demesne-ledger")  # fmt: skip
    # A role or database may have it off; what is stronger than "on" (remote_apply) stays.
    connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false)"
        " WHERE current_setting('synchronous_commit') IN ('off', 'local')"
    )
    return connection


def _said(error: psycopg.Error) -> str:
    """One line without values: PostgreSQL may quote a row."""
    primary = error.diag.message_primary if error.diag else None
    return (primary or type(error).__name__)[:200]
