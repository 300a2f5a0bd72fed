"""Replaying a confidential-computing event log (TCG PC Client Platform Firmware Profile §10; UEFI CC, index 1 to 4).

Runtime registers are hash chains and mean something only with the log that made them; the log proves nothing until
its replay ends in the registers of a verified quote.
"""

import hashlib

from vault.attest.claims import Refusal, refuse
from vault.attest.fields import Fields
from vault.attest.tdx.quote import Quote

MAX_LOG = 1 << 20
_SHA384 = 0x0C
_DIGESTS = {0x04: 20, 0x0B: 32, _SHA384: 48, 0x0D: 64}
_NO_ACTION = 3
_END = 0xFFFFFFFF
_MAX_EVENTS = 8192


def check_event_log(log: bytes, quote: Quote) -> None:
    """`Refused("attest.event-log")` unless the log ends in this quote's registers."""
    if replay(log) != quote.rtmrs:
        raise refuse(Refusal.EVENT_LOG, "the log is of another boot, or changed")


def replay(log: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """RTMR 0 to 3 after every event; `Refused("attest.event-log")` when it cannot be read."""
    if not 0 < len(log) <= MAX_LOG:
        raise refuse(Refusal.EVENT_LOG, "length")
    registers = [bytes(48) for _ in range(4)]
    f = Fields(log, "event log", Refusal.EVENT_LOG)
    f.take(4 + 4 + 20)  # the first event has the old form: register, type, SHA-1
    f.take(f.number(4))
    for _ in range(_MAX_EVENTS):
        if len(log) - f.at < 4 or not any(log[f.at : f.at + 16]):
            return registers[0], registers[1], registers[2], registers[3]
        index = f.number(4)
        if index == _END:
            return registers[0], registers[1], registers[2], registers[3]
        kind = f.number(4)
        digest = _digest(f)
        f.take(f.number(4))
        if not 0 <= index <= 4:
            raise refuse(Refusal.EVENT_LOG, f"register {index}")
        if index and kind != _NO_ACTION:  # index 0 is MRTD, which is fixed before the first event
            registers[index - 1] = hashlib.sha384(registers[index - 1] + digest).digest()
    raise refuse(Refusal.EVENT_LOG, "too many events")


def _digest(f: Fields) -> bytes:
    """The SHA-384 digest among the event's; each algorithm at most once."""
    found: dict[int, bytes] = {}
    for _ in range(f.number(4) if len(found) < 8 else 0):
        algorithm = f.number(2)
        if algorithm not in _DIGESTS or algorithm in found:
            raise refuse(Refusal.EVENT_LOG, f"algorithm {algorithm:#x}")
        found[algorithm] = f.take(_DIGESTS[algorithm])
    if _SHA384 not in found:
        raise refuse(Refusal.EVENT_LOG, "no SHA-384")
    return found[_SHA384]
