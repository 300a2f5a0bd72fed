"""Names, parsed once. Policy input, sealing context, record and store request all use the same value.

A second parse of a key is how CVE-2026-42882 happened elsewhere: authorization saw `%2F`,
storage saw `/`. Percent-decoding is done exactly once, by the S3 dialect, before this type is made.
"""

import re
from dataclasses import dataclass, replace

from vault.errors import Refused

_DATASET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_IPV4 = re.compile(r"\d+\.\d+\.\d+\.\d+")
MAX_KEY_BYTES = 1024


@dataclass(frozen=True, slots=True)
class DatasetRef:
    """A dataset (an S3 bucket of one tenant) in one zone, by name."""

    tenant: str
    zone: str
    dataset: str

    def __post_init__(self) -> None:
        if not _DATASET.fullmatch(self.dataset) or ".." in self.dataset or _IPV4.fullmatch(self.dataset):
            raise Refused("dataset.name", "3 to 63 characters of a-z, 0-9, '.', '-'")

    def object(self, key: str, version_id: str | None = None) -> "ObjectRef":
        return ObjectRef(self.tenant, self.zone, self.dataset, key, version_id)


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """One key of a dataset, optionally one version of it. Keys are exact: no normalisation of any kind."""

    tenant: str
    zone: str
    dataset: str
    key: str
    version_id: str | None = None

    def __post_init__(self) -> None:
        DatasetRef(self.tenant, self.zone, self.dataset)
        try:
            raw = self.key.encode("utf-8")
        except UnicodeEncodeError as error:
            raise Refused("key.encoding", "not UTF-8") from error
        if not raw or len(raw) > MAX_KEY_BYTES or b"\x00" in raw:
            raise Refused("key.length", f"1 to {MAX_KEY_BYTES} UTF-8 bytes without NUL")

    @property
    def dataset_ref(self) -> DatasetRef:
        return DatasetRef(self.tenant, self.zone, self.dataset)

    def at(self, version_id: str) -> "ObjectRef":
        return replace(self, version_id=version_id)
