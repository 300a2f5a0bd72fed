"""An OPA server as the engine: `opa-python-client` uploads the doctrine, a thin query of our own asks it.

The query stands apart because the client answers an undefined decision with `{}` and drops an empty input;
here undefined, an error status, a late answer and another bundle's answer are each their own refusal.
The wrapper module returns the revision beside every value, out of the same evaluation, so that an answer made
while somebody else uploads is never taken for ours.
"""

import asyncio
import json
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
import requests
from opa_client import errors as client_errors
from opa_client.opa import OpaClient

from gateway.decide.bundle import Bundle
from gateway.decide.document import encode
from gateway.decide.engine import UNDEFINED, BundleRefused, EngineFailed, EngineTimeout, EngineUnavailable, Undefined
from gateway.decide.gate import probe

# Policy ids of ours at the server; what else lies there is left alone, and read by nothing of ours.
_PREFIX: Final = "demesne/"
_SERVING: Final = "demesne/serving.rego"
_SERVING_REGO: Final = """package demesne_serving

decision := {"revision": data.demesne_revision.serving, "value": data.demesne.main.decision}

plans := {"revision": data.demesne_revision.serving, "value": data.demesne.main.plans}

appraisal := {"revision": data.demesne_revision.serving, "value": data.demesne.evidence.appraisal}
"""
_CLIENT_ERRORS: Final = (
    client_errors.ConnectionsError, client_errors.PolicyNotFoundError, requests.exceptions.RequestException,
)


class Opa:
    """`Engine` on an OPA server at `url`. `deadline` in seconds of clock, for each question."""

    name = "opa"
    any_builtin = True

    def __init__(self, url: str, *, deadline: float = 0.05, upload_seconds: float = 10.0) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url}: not an http or https address")
        secure = parts.scheme == "https"
        self._admin = OpaClient(
            host=parts.hostname, port=parts.port or (443 if secure else 80), ssl=secure, timeout=upload_seconds,
            retries=0,
        )
        self._query = httpx2.AsyncClient(
            base_url=url.rstrip("/"), timeout=deadline, trust_env=False,
            limits=httpx2.Limits(max_connections=4, max_keepalive_connections=4, keepalive_expiry=30),
        )
        self._deadline = deadline
        self._upload_seconds = upload_seconds
        self._bundle: Bundle | None = None
        self._loading = asyncio.Lock()

    async def load(self, bundle: Bundle) -> str:
        """Upload `bundle` and try it. When it is refused, the one before is put back. Raises BundleRefused."""
        async with self._loading:
            try:
                # Another worker of this zone may have brought the very same bundle: then there is nothing to interrupt.
                if await self.serving() != bundle.revision:
                    await asyncio.to_thread(self._upload, bundle)
                await probe(lambda path, document: self._ask(path, document, bundle.revision, self._upload_seconds))
            except (BundleRefused, EngineFailed, EngineTimeout) as error:
                await self._restore()
                raise BundleRefused(str(error)) from error
            self._bundle = bundle
            return bundle.revision

    async def serving(self) -> str:
        """Revision at the server; "" after it was restarted without its bundle, or while somebody uploads."""
        try:
            response = await self._query.get("/v1/data/demesne_revision/serving", timeout=self._upload_seconds)
            value = json.loads(response.content).get("result")
        except (httpx2.HTTPError, ValueError, AttributeError) as error:
            raise EngineUnavailable(type(error).__name__) from error
        return value if isinstance(value, str) else ""

    async def evaluate(self, path: str, document: Any) -> Any | Undefined:
        """Value of a rule. Raises EngineTimeout, EngineFailed, EngineUnavailable."""
        if self._bundle is None:
            raise EngineUnavailable("no bundle")
        try:
            async with asyncio.timeout(self._deadline):
                return await self._ask(path, document, self._bundle.revision, self._deadline)
        except TimeoutError as error:
            raise EngineTimeout(f"{self._deadline * 1000:.0f} ms") from error

    async def healthy(self) -> bool:
        """Whether the server answers its health check."""
        return bool(await asyncio.to_thread(self._admin.check_health))

    async def close(self) -> None:
        """Close the connections; the server keeps its bundle."""
        await self._query.aclose()
        self._admin.close_connection()

    async def _ask(self, path: str, document: Any, revision: str, seconds: float) -> Any | Undefined:
        rule = path.rpartition("/")[2]
        content = b'{"input":' + encode(document) + b"}"
        try:
            # Without strict-builtin-errors a failing built-in is undefined, and `not f(x)` becomes true.
            response = await self._query.post(
                f"/v1/data/demesne_serving/{rule}", params={"strict-builtin-errors": "true"}, content=content,
                headers={"content-type": "application/json"}, timeout=seconds,
            )
        except httpx2.TimeoutException as error:
            raise EngineTimeout(f"{seconds * 1000:.0f} ms") from error
        except httpx2.HTTPError as error:
            raise EngineUnavailable(type(error).__name__) from error
        if response.status_code != 200:
            raise EngineFailed(f"OPA answered {response.status_code}")
        try:
            answer = json.loads(response.content)
        except ValueError as error:
            raise EngineFailed("OPA did not answer JSON") from error
        if not isinstance(answer, dict) or "result" not in answer:
            return UNDEFINED
        result = answer["result"]
        if not isinstance(result, dict) or result.get("revision") != revision or "value" not in result:
            raise EngineUnavailable("OPA serves another doctrine")
        return result["value"]

    async def _restore(self) -> None:
        if self._bundle is None:
            return
        try:
            await asyncio.to_thread(self._upload, self._bundle)
        except (BundleRefused, EngineUnavailable):
            # Nothing to put it right with: the revision at the server is empty, so every question is refused.
            return

    def _upload(self, bundle: Bundle) -> None:
        """Replace our modules and data. While this runs the revision is empty and nobody gets an answer."""
        try:
            if not self._admin.check_health():
                raise EngineUnavailable("OPA is not healthy")
            self._admin.update_or_create_data({"serving": ""}, "demesne_revision")
            wanted = {_PREFIX + path: text for path, text in bundle.modules} | {_SERVING: _SERVING_REGO}
            wanted = {_PREFIX + path: text for path, text in bundle.modules} | {_SERVING: _SERVING_REGO}
            for root, tree in bundle.data.items():
                self._admin.update_or_create_data(tree, root)
            known = {identity for identity in self._admin.get_policies_list() if identity.startswith(_PREFIX)}
            self._replace({identity: wanted.get(identity) for identity in sorted(known | wanted.keys())})
            self._admin.update_or_create_data({"serving": bundle.revision}, "demesne_revision")
        except (client_errors.RegoParseError, client_errors.DeletePolicyError) as error:
            raise BundleRefused(_sentence(error)) from error
        except _CLIENT_ERRORS as error:
            raise EngineUnavailable(type(error).__name__) from error

    def _replace(self, changes: dict[str, str | None]) -> None:
        """Put each module (None: take it away). OPA compiles after every one and wants a function before its
        callers, so what it refuses is tried again for as long as something else succeeds."""
        while changes:
            refused: dict[str, str | None] = {}
            complaint: client_errors.RegoParseError | client_errors.DeletePolicyError | None = None
            for identity, text in changes.items():
                try:
                    if text is None:
                        self._admin.delete_policy(identity)
                    else:
                        # rego_compat would let the client rewrite the policy with regular expressions until it parses.
                        self._admin.update_policy_from_string(text, identity, rego_compat=False)
                except (client_errors.RegoParseError, client_errors.DeletePolicyError) as error:
                    refused[identity], complaint = text, complaint or error
            if complaint is not None and len(refused) == len(changes):
                raise complaint
            changes = refused


def _sentence(error: Exception) -> str:
    """OPA's first complaint with its place."""
    for item in getattr(error, "errors", None) or ():
        place = item.get("location") or {}
        return f"{place.get('file', '')}:{place.get('row', '')}: {item.get('message', '')}"
    return str(error)
