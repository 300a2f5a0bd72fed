"""Object tags: sealed in the manifest, read as part of a HEAD, written as its next generation."""

from collections.abc import Mapping

from gateway.errors import Denied
from gateway.guard import Guard
from gateway.identity.principal import Principal
from gateway.reads import Reads
from gateway.s3.ports import Tags
from gateway.shown import absent, grant_of, here, shown_version
from gateway.writes import key_class
from vault.objects import Vault
from vault.ref import ObjectRef


class ObjectTags:
    def __init__(self, guard: Guard, vault: Vault, reads: Reads) -> None:
        self._guard = guard
        self._vault = vault
        self._reads = reads

    async def get_tags(self, principal: Principal, ref: ObjectRef, request_id: str) -> Tags:
        """Whoever is shown a rendering is shown no tags: they are the writer's words about the object as written."""
        async with self._reads.open_read(
            principal, ref, action="head", require_view=None, request_id=request_id
        ) as reading:
            return Tags(dict(reading.tags), reading.version_id)

    async def put_tags(
        self, principal: Principal, ref: ObjectRef, tags: Mapping[str, str], request_id: str
    ) -> Tags:
        """All tags at once; {} removes them."""
        admission = await self._guard.admit(
            principal, "write", request_id=request_id, dataset=ref.dataset, key=ref.key, version_id=ref.version_id,
            run_labels=True,
        )  # fmt: skip
        dataset, version = here(admission), admission.facts.version
        if version is None:
            raise absent(admission, ref.version_id)
        # What may be personal must not stand on an object that everybody is shown.
        if version.label == "none" and key_class(admission.allow) == "raw":
            raise Denied(
                "AccessDenied", "This object is labelled as holding nothing personal, and your words may be",
                rule="flow.label", decision_id=admission.decision_id, remedy="tag it before it is declassified",
            )  # fmt: skip
        grant = grant_of(principal, admission)
        tagged = await self._guard.blocking(self._vault.tag, version, tags, grant, admission.decision_id)
        return Tags(dict(tags), shown_version(dataset, tagged))
