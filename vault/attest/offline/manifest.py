"""A folder of evidence with the outcome that each piece must have: `MANIFEST.json`, a list of entries

    {"id", "kind", "files": [evidence, endorsement or collateral …], "at": RFC 3339 | null, "expect": outcome, "note"}

Outcomes are names of `Refusal` without their prefix, `ok`, or for `tdx` the platform's TCB status, whether the
default policy admits it or not.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from vault.attest.claims import Refusal
from vault.attest.offline.contents import MAX_FILE, Presented, is_json, milliseconds
from vault.attest.offline.kinds import Verdict, verify_files
from vault.attest.tdx.tcb import STATUSES
from vault.errors import Refused

UNUSABLE = "unusable"  # the entry, not the evidence: no such file, no such time
MAX_ENTRIES = 10_000
_NAMES = ("id", "kind", "expect")


class UnusableManifest(Exception):
    """The folder holds nothing that could be checked; the message says why."""


@dataclass(frozen=True, slots=True)
class Checked:
    """One entry's verdict beside its expectation."""

    id: str
    kind: str
    expect: str
    outcome: str
    detail: str

    @property
    def agrees(self) -> bool:
        return self.outcome == self.expect


def parse_manifest(raw: bytes) -> list[dict[str, Any]]:
    """The entries; `UnusableManifest` when there are none, or one lacks what every entry has."""
    if len(raw) > MAX_FILE:
        raise UnusableManifest(f"MANIFEST.json is longer than {MAX_FILE} bytes")
    try:
        entries = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise UnusableManifest(f"MANIFEST.json: {error}") from error
    if not isinstance(entries, list) or not 0 < len(entries) <= MAX_ENTRIES:
        raise UnusableManifest("MANIFEST.json is no list of entries, or an empty one")
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or not all(isinstance(entry.get(name), str) for name in _NAMES):
            raise UnusableManifest(f"entry {number}: id, kind and expect expected")
        files = entry.get("files")
        if not isinstance(files, list) or not files or not all(isinstance(name, str) for name in files):
            raise UnusableManifest(f"entry {entry['id']}: files expected")
        if not isinstance(entry.get("at"), str | None):
            raise UnusableManifest(f"entry {entry['id']}: at is a time or null")
    return entries


def check_entries(entries: list[dict[str, Any]], read: Callable[[str], bytes], present_ms: int) -> Iterator[Checked]:
    """Each entry's verdict. `read` gives a file of the folder, or raises OSError or ValueError."""
    for entry in entries:
        outcome, detail = _outcome(entry, read, present_ms)
        yield Checked(entry["id"], entry["kind"], entry["expect"], outcome, detail)


def _outcome(entry: dict[str, Any], read: Callable[[str], bytes], present_ms: int) -> tuple[str, str]:
    try:
        evidence, *others = (read(name) for name in entry["files"])
        now_ms = None if entry.get("at") is None else milliseconds(entry["at"])
    except (OSError, ValueError, OverflowError) as error:
        return UNUSABLE, str(error)
    kind, endorsements, collateral = _sorted(entry["kind"], others)
    presented = Presented(evidence, endorsements, collateral, None, now_ms, present_ms)
    try:
        verdict = verify_files(kind, presented)
    except Refused as refused:
        name = Refusal(refused.reason).removeprefix("attest.")
        is_status = kind == "tdx" and refused.detail in STATUSES
        return (refused.detail, name) if is_status else (name, refused.detail)
    return _status(verdict), ""


def _sorted(kind: str, others: list[bytes]) -> tuple[str, tuple[bytes, ...], bytes | None]:
    """The kind that an entry can be checked for, its endorsements, and its collateral.

    Evidence of a vTPM over TDX is checked for its signatures where the entry has no collateral (a JSON document).
    """
    if kind == "tdx":
        return kind, tuple(others[1:]), others[0] if others else None
    if kind != "azure-vtpm":
        return kind, tuple(others), None
    collateral = next((content for content in others if is_json(content)), None)
    certificates = tuple(content for content in others if not is_json(content))
    return ("azure-vtpm-quote" if collateral is None else kind), certificates, collateral


def _status(verdict: Verdict) -> str:
    """A TDX platform that holds is "UpToDate", or what the policy admitted; everything else that holds is "ok"."""
    platform = verdict.claims.get("platform", {})
    return str(platform.get("tcb_status", "ok")) if verdict.claims.get("kind") == "tdx" else "ok"
