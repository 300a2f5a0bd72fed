"""From sealed bodies to something visible: seal the manifest with its stamp, store it durably, commit, take away what
the commit superseded.

A manifest states when it was written and whether it is the null version, because a catalog is rebuilt from manifests.
Both are only settled by the commit: it refuses a stamp that does not come after the key's newest, and the manifest is
sealed again. So the order of stamps is the order of commits, whatever order the writes began in.
"""

from collections.abc import Callable

from vault.catalog.versions import Committed, NewVersion
from vault.errors import Conflict, Unavailable, VaultError
from vault.ground import Ground
from vault.writing import Said, SealedVersion, new_manifest_name, store_manifest

MAX_STAMPS = 64
"""Tries against others who write the same key at the same moment; each lost try means that another one won."""


class Commits(Ground):
    def _committed(
        self, sealed: SealedVersion, said: Said, record: str, commit: Callable[[NewVersion], Committed],
        discard: Callable[[SealedVersion], None],
    ) -> Committed:  # fmt: skip
        """Durable and visible when this returns. Whatever `commit` raises, after `discard`; Unavailable
        ("version.contended") when others won every time."""
        for _ in range(MAX_STAMPS):
            try:
                written_at, null_version = self._stamp(sealed)
                stored = store_manifest(self.store, sealed, said, written_at=written_at, null_version=null_version)
                done = commit(sealed.new_version(stored, said, record, written_at, null_version))
            except Conflict as error:
                if error.reason != "version.stamp":
                    discard(sealed)
                    raise
                sealed = self._again(sealed)
                continue
            except VaultError:
                discard(sealed)
                raise
            self._take_away(done.superseded)
            return done
        discard(sealed)
        raise Unavailable("version.contended", sealed.subject.key)

    def _stamp(self, sealed: SealedVersion) -> tuple[int, bool]:
        newest, null_version = self.catalog.newest_stamp(sealed.place.dataset_id, sealed.subject.key)
        return max(self._clock(), newest + 1), null_version

    def _again(self, sealed: SealedVersion) -> SealedVersion:
        """Under a new manifest id: two manifests of one id and generation must never both have been stored."""
        self.catalog.orphan_bodies([sealed.name.manifest_id])
        name = new_manifest_name()
        self.catalog.add_bodies([(name.manifest_id, name.store_key, sealed.subject.subject)], sealed.place.dataset_id)
        return sealed.under(name)

    def _take_away(self, store_keys: tuple[str, ...]) -> None:
        """Manifests of what was overwritten or deleted, before anybody is told that it is: a catalog rebuilt from the
        store must not bring it back. Bodies stay for those who are reading them; the sweeper takes them."""
        for store_key in store_keys:
            self.store.delete(store_key)
