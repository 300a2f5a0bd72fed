"""The same for asyncio: `async with demesne.aio.session(purpose=…) as session:`.

One protocol, two drivers: this one awaits the network and asks attesters in a thread, since hardware blocks. The
session's agent keeps its own threads here too: an event loop that is busy training must not let the attestation lapse,
nor keep other programs waiting for credentials.
"""

import asyncio
import hashlib
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TextIO

from demesne._connection import AsyncConnection, now_utc
from demesne._exchange import Answer, Ask, Exchange, ProveDevices, Step, known_scope, locate, run_async
from demesne.agent import Place
from demesne.attest import Evidence, Worker, assemble, print_notice
from demesne.borrowed import Reachable
from demesne.credentials import Credentials
from demesne.destination import Caller, destination
from demesne.evidence import Attester, DeviceAttester
from demesne.reach import Reach
from demesne.run import Digest
from demesne.session import Session as Blocking
from demesne.session_key import SessionKey


class session(Reachable):  # noqa: N801 - reads as a function: `async with demesne.aio.session(…)`
    """An attested session. Nothing happens before `async with` or `await …open()`; arguments as `demesne.session`.

    Raises what `demesne.session` raises, when entered.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        purpose: str,
        scope: Sequence[str] | None = None,
        run: str | None = None,
        credentials: Caller | None = None,
        attester: str | Attester = "auto",
        devices: Sequence[DeviceAttester] | None = None,
        bind: Literal["certificate"] | None = None,
        region: str | None = None,
        s3_endpoint: str | None = None,
        ca: Path | str | None = None,
        ready_file: Path | str | None = None,
        notice: TextIO | None = None,
        agent: Place | None = None,
    ) -> None:
        place = destination(endpoint, credentials, region, s3_endpoint, ca, ready_file)
        self._worker = Worker.of(place, attester, devices, now_utc)
        self._wanted = {"purpose": purpose, "run": run, "bind": bind}
        self._scope = scope
        self._notice = notice
        self._agent = agent
        self._held: Blocking | None = None

    async def open(self) -> Self:
        """Attest and start the agent, without touching the environment."""
        connection = self._worker.place.async_connection(self._worker.clock)
        driver = AsyncDriver(connection, self._worker.evidence)
        try:
            zone = await driver.do(locate(self._worker.place.zone))
            scope = self._scope
            if scope is None:
                scope = await driver.do(known_scope(only_synthetic=self._worker.only_synthetic))
            key = SessionKey()
            exchange = Exchange(key=key, scope=scope, **self._wanted)  # type: ignore[arg-type]
            opened = await driver.do(exchange.open())
        finally:
            await connection.close()
        if opened.notice:
            print_notice(opened.notice, self._notice or sys.stderr)
        self._held = assemble(self._worker, exchange, key, opened, zone, reattest=True, agent=self._agent)
        return self

    @property
    def blocking(self) -> Blocking:
        """The session itself, for code that does not await. Raises SessionClosed before `open` and after `close`."""
        if self._held is None:
            from demesne.errors import session_closed

            raise session_closed("this session was not opened")
        return self._held

    @property
    def session_id(self) -> str:
        return self.blocking.session_id

    @property
    def run_id(self) -> str:
        return self.blocking.run_id

    @property
    def credentials(self) -> Credentials:
        return self.blocking.credentials

    def reach(self) -> Reach:
        return self.blocking.reach()

    async def reattest(self) -> None:
        """Re-attest now. Raises what the gateway says."""
        await asyncio.to_thread(self.blocking.reattest)

    def client(self, service: str = "s3", **options: Any) -> AbstractAsyncContextManager[Any]:
        """An aiobotocore client: `async with session.client() as s3:`. Needs `demesne[s3fs]`."""
        reach = self.reach()
        from aiobotocore.config import AioConfig  # type: ignore[import-untyped, unused-ignore]

        made = reach.storage_options()
        config = AioConfig(**made["config_kwargs"])
        given = {"endpoint_url": reach.s3_endpoint, **made["client_kwargs"], **options}
        given["config"] = config.merge(options["config"]) if "config" in options else config
        found: AbstractAsyncContextManager[Any] = made["session"].create_client(service, **given)
        return found

    def run(
        self,
        name: str | None = None,
        *,
        outputs: Sequence[str] = (),
        parents: Sequence[str] = (),
        models: Mapping[str, Digest] | None = None,
    ) -> "Run":
        """`async with session.run("train-risk", outputs=…)`: as `Session.run`."""
        return Run(self.blocking, name, outputs, parents, models)

    async def close(self) -> None:
        """Stop the agent and revoke the session. May be called twice."""
        if self._held is not None:
            await asyncio.to_thread(self._held.close)

    async def __aenter__(self) -> Self:
        await self.open()
        self.blocking.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class Run:
    """`demesne.run.Run` for `async with`: the words go to the gateway from a thread."""

    def __init__(
        self, held: Blocking, name: str | None, outputs: Sequence[str], parents: Sequence[str],
        models: Mapping[str, Digest] | None,
    ) -> None:  # fmt: skip
        self.blocking = held.run(name, outputs=outputs, parents=parents, models=models)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.blocking.__enter__)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.blocking.__exit__, kind, value, trace)


class AsyncDriver:
    """Carries out the exchange's steps on the event loop."""

    def __init__(self, connection: AsyncConnection, evidence: Evidence) -> None:
        self._connection = connection
        self._evidence = evidence

    async def do(self, steps: Any) -> Any:
        return await run_async(steps, self._carry_out)

    async def _carry_out(self, step: Step) -> Any:
        if isinstance(step, Ask):
            call = step.call
            response = await self._connection.send(
                call.method, call.path, query=call.query, content=call.body,
                headers={"content-type": "application/json"} if call.body else {},
                payload_sha256=hashlib.sha256(call.body).hexdigest(),
            )  # fmt: skip
            return Answer(response.status_code, dict(response.headers), response.content)
        if isinstance(step, ProveDevices):
            return await asyncio.to_thread(self._evidence.prove_devices, step.nonce)
        return await asyncio.to_thread(self._evidence.prove_machine, step.report_data)
