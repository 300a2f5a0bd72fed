"""One suite for every key provider: local files, OpenBao Transit, AWS KMS (moto), PKCS#11 (SoftHSM2).

docs/spec/keys.md §3. Nothing here knows which provider it talks to, but for how long destruction takes.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from tests.fakes.key_providers import KINDS, Provided, missing, provided
from vault.envelope.context import GroupContext
from vault.errors import Conflict, NotFound, Refused, VaultError
from vault.keys.provider import EpochState, KeyClass, KeyProvider

pytestmark = pytest.mark.servers
DAY_MS = 86_400_000
NOW = 1_800_000_000_000
KEY = bytes(range(32))
CONTEXT = GroupContext("main", "de", "d" * 32, "raw", "a" * 32, "e" * 32).encode()


@pytest.fixture(scope="module", params=KINDS)
def keys(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provided]:
    if why := missing(request.param):
        pytest.skip(why)
    with provided(request.param, tmp_path_factory.mktemp(request.param)) as ready:
        yield ready


@pytest.fixture
def epoch(keys: Provided) -> str:
    """A fresh raw epoch."""
    name = secrets.token_hex(16)
    keys.raw.create_epoch(name, KeyClass.RAW)
    return name


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        call()
    return caught.value.reason


def test_wrap_opens_under_its_epoch_and_context_in_this_process_and_the_next(keys: Provided, epoch: str) -> None:
    wrapped = keys.raw.wrap(epoch, KEY, CONTEXT)
    assert KEY not in wrapped
    assert keys.raw.unwrap(epoch, wrapped, CONTEXT) == KEY
    assert keys.again().unwrap(epoch, wrapped, CONTEXT) == KEY
    assert "secret" in repr(keys.raw.unwrap(epoch, wrapped, CONTEXT))  # it does not show itself
    assert keys.raw.wrap(epoch, KEY, CONTEXT) != wrapped


def test_wrap_fits_where_it_is_kept(keys: Provided, epoch: str) -> None:
    assert len(keys.raw.wrap(epoch, KEY, CONTEXT)) <= 512


@pytest.mark.parametrize("context", [b"", CONTEXT[:-1], CONTEXT + b"\x00", CONTEXT.replace(b"raw", b"row")])
def test_wrap_does_not_open_in_another_context(keys: Provided, epoch: str, context: bytes) -> None:
    wrapped = keys.raw.wrap(epoch, KEY, CONTEXT)
    assert refused(lambda: keys.raw.unwrap(epoch, wrapped, context)) == "key.context"


@pytest.mark.parametrize("context", [b"", CONTEXT[:-1], CONTEXT + b"\x00", CONTEXT.replace(b"raw", b"row")])
def test_provider_itself_binds_the_context_whatever_our_commitment_says(
    keys: Provided, epoch: str, context: bytes
) -> None:
    bare: KeyProvider = getattr(keys.raw, "_provider", keys.raw)
    wrapped = bare.wrap(epoch, KEY, CONTEXT)
    assert bare.unwrap(epoch, wrapped, CONTEXT) == KEY
    assert refused(lambda: bare.unwrap(epoch, wrapped, context)) == "key.context"


@pytest.mark.parametrize("length", [1, 16, 31, 33, 64])
def test_what_opens_to_another_length_is_no_key(keys: Provided, epoch: str, length: int) -> None:
    """Whoever may encrypt under the epoch key could have: what is not 32 bytes is not answered."""
    bare = getattr(keys.raw, "_provider", None)
    if bare is None:  # local files wrap whatever their one caller gives them
        return
    with pytest.raises(VaultError):
        bare.unwrap(epoch, bare.wrap(epoch, bytes(length), CONTEXT), CONTEXT)


def test_empty_context_is_a_context(keys: Provided, epoch: str) -> None:
    wrapped = keys.raw.wrap(epoch, KEY, b"")
    assert keys.raw.unwrap(epoch, wrapped, b"") == KEY
    assert refused(lambda: keys.raw.unwrap(epoch, wrapped, b"\x00")) == "key.context"


def test_wrap_does_not_open_under_another_epoch_nor_changed_nor_cut(keys: Provided, epoch: str) -> None:
    other = secrets.token_hex(16)
    keys.raw.create_epoch(other, KeyClass.RAW)
    wrapped = keys.raw.wrap(epoch, KEY, CONTEXT)
    with pytest.raises(Refused):
        keys.raw.unwrap(other, wrapped, CONTEXT)
    places = {0, 1, 8, 15, 16, 17, 20, 28, 29, len(wrapped) // 2, len(wrapped) - 20, len(wrapped) - 1}
    for place in places:
        changed = bytearray(wrapped)
        changed[place] ^= 0x01
        with pytest.raises(Refused):
            keys.raw.unwrap(epoch, bytes(changed), CONTEXT)
    for cut in (b"", wrapped[:1], wrapped[:16], wrapped[:17], wrapped[:-1], wrapped + b"A", wrapped * 9):
        with pytest.raises(Refused):
            keys.raw.unwrap(epoch, cut, CONTEXT)
    assert keys.raw.unwrap(epoch, wrapped, CONTEXT) == KEY


def test_classes_are_two_worlds(keys: Provided, epoch: str) -> None:
    wrapped = keys.raw.wrap(epoch, KEY, CONTEXT)
    for call in (
        lambda: keys.view.unwrap(epoch, wrapped, CONTEXT),
        lambda: keys.view.wrap(epoch, KEY, CONTEXT),
        lambda: keys.view.disable(epoch),
        lambda: keys.view.schedule_destruction(epoch, 7, NOW),
        lambda: keys.view.destroy(epoch),
    ):
        assert refused(call) in {"key.class", "key.unknown"}
    assert refused(lambda: keys.view.create_epoch(secrets.token_hex(16), KeyClass.RAW)) == "key.class"
    assert refused(lambda: keys.raw.create_epoch(secrets.token_hex(16), KeyClass.VIEW)) == "key.class"
    assert keys.raw.status(epoch).state is EpochState.ACTIVE
    assert keys.raw.unwrap(epoch, wrapped, CONTEXT) == KEY


def test_view_class_works_as_raw_does(keys: Provided) -> None:
    name = secrets.token_hex(16)
    keys.view.create_epoch(name, KeyClass.VIEW)
    wrapped = keys.view.wrap(name, KEY, CONTEXT)
    assert keys.view.unwrap(name, wrapped, CONTEXT) == KEY
    with pytest.raises(Refused):
        keys.raw.unwrap(name, wrapped, CONTEXT)


def test_epoch_is_never_made_twice(keys: Provided, epoch: str) -> None:
    wrapped = keys.raw.wrap(epoch, KEY, CONTEXT)
    assert refused(lambda: keys.raw.create_epoch(epoch, KeyClass.RAW)) == "key.exists"
    assert refused(lambda: keys.again().create_epoch(epoch, KeyClass.RAW)) == "key.exists"
    assert keys.raw.unwrap(epoch, wrapped, CONTEXT) == KEY


def test_unknown_epoch_is_not_found(keys: Provided) -> None:
    name = secrets.token_hex(16)
    assert keys.raw.status(name).state is EpochState.UNKNOWN
    for call in (
        lambda: keys.raw.wrap(name, KEY, CONTEXT),
        lambda: keys.raw.disable(name),
        lambda: keys.raw.enable(name),
        lambda: keys.raw.schedule_destruction(name, 7, NOW),
        lambda: keys.raw.cancel_destruction(name),
        lambda: keys.raw.destroy(name),
    ):
        with pytest.raises(NotFound, match=r"key\.unknown"):
            call()
    assert keys.raw.status(name).state is EpochState.UNKNOWN


@pytest.mark.parametrize("name", ["", "../e1", "e/1", ".", "E1", "e" * 65, "e\x00", "é", "e_1", "e1 ", "e1?x=1"])
def test_name_that_would_be_a_path_is_refused_before_it_is_sent(keys: Provided, name: str) -> None:
    for call in (
        lambda: keys.raw.create_epoch(name, KeyClass.RAW),
        lambda: keys.raw.status(name),
        lambda: keys.raw.destroy(name),
        lambda: keys.raw.wrap(name, KEY, CONTEXT),
    ):
        assert refused(call) == "key.name"


def test_disabled_epoch_opens_and_wraps_nothing_until_enabled(keys: Provided, epoch: str) -> None:
    wrapped = keys.raw.wrap(epoch, KEY, CONTEXT)
    for _ in range(2):  # twice: idempotent, and again after it was enabled
        keys.raw.disable(epoch)
        keys.raw.disable(epoch)
        assert keys.raw.status(epoch).state is EpochState.DISABLED
        for connection in (keys.raw, keys.again()):
            assert refused(lambda it=connection: it.unwrap(epoch, wrapped, CONTEXT)) == "key.disabled"  # type: ignore[misc]
            assert refused(lambda it=connection: it.wrap(epoch, KEY, CONTEXT)) == "key.disabled"  # type: ignore[misc]
        keys.raw.enable(epoch)
        keys.raw.enable(epoch)
        assert keys.raw.status(epoch).state is EpochState.ACTIVE
        assert keys.raw.unwrap(epoch, wrapped, CONTEXT) == KEY
        assert keys.raw.unwrap(epoch, keys.raw.wrap(epoch, KEY, CONTEXT), CONTEXT) == KEY


def test_scheduled_destruction_refuses_at_once_and_can_be_cancelled(keys: Provided, epoch: str) -> None:
    wrapped = keys.raw.wrap(epoch, KEY, CONTEXT)
    now = now_ms()
    first = keys.raw.schedule_destruction(epoch, 9, now)
    assert first.state == "pending"
    assert first.until_ms is not None
    assert abs(first.until_ms - (now + 9 * DAY_MS)) < 60_000
    assert keys.raw.schedule_destruction(epoch, 30, now + DAY_MS) == first  # the first date stays
    for connection in (keys.raw, keys.again()):
        status = connection.status(epoch)
        assert (status.state, status.until_ms) == (EpochState.PENDING, first.until_ms)
        assert refused(lambda it=connection: it.unwrap(epoch, wrapped, CONTEXT)) == "key.pending"  # type: ignore[misc]
        assert refused(lambda it=connection: it.wrap(epoch, KEY, CONTEXT)) == "key.pending"  # type: ignore[misc]
    assert refused(lambda: keys.raw.enable(epoch)) == "key.pending"
    assert refused(lambda: keys.raw.disable(epoch)) == "key.pending"
    keys.raw.cancel_destruction(epoch)
    keys.raw.cancel_destruction(epoch)
    assert keys.raw.status(epoch).state is EpochState.DISABLED
    assert refused(lambda: keys.raw.unwrap(epoch, wrapped, CONTEXT)) == "key.disabled"
    keys.raw.enable(epoch)
    assert keys.raw.unwrap(epoch, wrapped, CONTEXT) == KEY
    again = keys.raw.schedule_destruction(epoch, 7, now_ms())
    assert again.until_ms is not None
    assert abs(again.until_ms - (now_ms() + 7 * DAY_MS)) < 60_000


def test_disabled_epoch_can_be_scheduled(keys: Provided, epoch: str) -> None:
    keys.raw.disable(epoch)
    assert keys.raw.schedule_destruction(epoch, 7, now_ms()).state == "pending"
    assert keys.raw.status(epoch).state is EpochState.PENDING


def test_nothing_to_cancel_is_a_conflict(keys: Provided, epoch: str) -> None:
    with pytest.raises(Conflict, match=r"key\.not-pending"):
        keys.raw.cancel_destruction(epoch)
    assert keys.raw.status(epoch).state is EpochState.ACTIVE


@pytest.mark.parametrize("days", [-1, 0, 1, 6, 31, 10_000])
def test_days_outside_the_range_change_nothing(keys: Provided, epoch: str, days: int) -> None:
    assert refused(lambda: keys.raw.schedule_destruction(epoch, days, NOW)) == "key.days"
    assert keys.raw.status(epoch).state is EpochState.ACTIVE


@pytest.mark.parametrize("before", ["active", "disabled", "pending"])
def test_destroyed_epoch_opens_nothing_ever_again(keys: Provided, epoch: str, before: str) -> None:
    wrapped = keys.raw.wrap(epoch, KEY, CONTEXT)
    if before == "disabled":
        keys.raw.disable(epoch)
    elif before == "pending":
        keys.raw.schedule_destruction(epoch, 7, now_ms())
    ordered = keys.raw.destroy(epoch)
    assert ordered.state == ("pending" if keys.waits else "destroyed")
    assert keys.raw.destroy(epoch) == ordered  # repeating says how far it is
    gone = "key.pending" if keys.waits else "key.destroyed"
    for connection in (keys.raw, keys.again()):
        assert refused(lambda it=connection: it.unwrap(epoch, wrapped, CONTEXT)) == gone  # type: ignore[misc]
        assert refused(lambda it=connection: it.wrap(epoch, KEY, CONTEXT)) == gone  # type: ignore[misc]
        assert refused(lambda it=connection: it.create_epoch(epoch, KeyClass.RAW)) == "key.exists"  # type: ignore[misc]
    if not keys.waits:
        assert keys.raw.status(epoch).state is EpochState.DESTROYED
        assert keys.raw.schedule_destruction(epoch, 7, now_ms()).state == "destroyed"
        for call in (keys.raw.enable, keys.raw.disable, keys.raw.cancel_destruction):
            assert refused(lambda it=call: it(epoch)) == "key.destroyed"  # type: ignore[misc]


def test_place_is_told_with_how_far_to_believe_it(keys: Provided) -> None:
    where = keys.raw.location()
    assert where.observed in {"de", "eu-central-1"}
    assert where.strength in {"self-reported", "network"}
    assert where.target


def test_zone_secret_names_are_epoch_names(keys: Provided) -> None:
    with suppress(VaultError):
        keys.raw.create_epoch("secret-root", KeyClass.RAW)
    wrapped = keys.raw.wrap("secret-root", KEY, b"demesne/secret/1\x00root")
    assert keys.again().unwrap("secret-root", wrapped, b"demesne/secret/1\x00root") == KEY


def now_ms() -> int:
    import time

    return time.time_ns() // 1_000_000
