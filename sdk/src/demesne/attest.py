"""session() and attest(): challenge -> evidence -> session, with threads. `aio.py` does the same for asyncio.

The protocol is in `_exchange.py`, what evidence commits to in `binding.py`; here it is carried out.
"""

import hashlib
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TextIO

from demesne import evidence as attesters
from demesne._connection import now_utc
from demesne._exchange import Answer, Ask, Exchange, Facts, ProveDevices, Step, known_scope, locate, run
from demesne.agent import Agent, Place, write_private
from demesne.binding import additional_digest, device_nonce, report_data
from demesne.destination import Caller, Destination, destination
from demesne.errors import Invalid
from demesne.evidence import Attester, DeviceAttester
from demesne.keeper import Keeper
from demesne.reach import ClientCertificate, Reach
from demesne.session import Session, certificate_path
from demesne.session_key import SessionKey
from demesne.settings import Zone

__all__ = ["additional_digest", "attest", "device_nonce", "report_data", "session"]
MAX_DEVICES = 16
_NOTICE_WIDTH = 78


def session(
    endpoint: str | None = None,
    *,
    purpose: str,
    scope: Sequence[str] | None = None,
    run: str | None = None,
    credentials: Caller | None = None,
    attester: str | Attester = "auto",
    devices: Sequence[DeviceAttester] | None = None,
    bind: Literal["certificate"] | None = None,
    reattest: bool = True,
    region: str | None = None,
    s3_endpoint: str | None = None,
    ca: Path | str | None = None,
    ready_file: Path | str | None = None,
    notice: TextIO | None = None,
    agent: Place | None = None,
    clock: Callable[[], datetime] = now_utc,
) -> Session:
    """Prove what runs here, and get S3 credentials for `purpose` that renew themselves; use it with `with`.

    endpoint: the zone's API; default from `ready_file`, DEMESNE_READY_FILE or DEMESNE_ENDPOINT.
    scope: names of the datasets to be opened raw; default all this principal may know of (with the
    sample attester: all flagged synthetic). run: name of the lineage run. credentials: the principal's own
    (default: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), or a function that is asked for them each time.
    attester: a kind, an object, or "auto" for the best this machine has; devices: GPUs and switches (default: with
    "auto" those found). bind="certificate": credentials that open raw data only over a connection that shows the
    session's client certificate. reattest=False leaves freshness to the caller. agent: where its endpoint listens.
    Raises Refused with rule and remedy, Unavailable, Malformed, NotConfigured.
    """
    place = destination(endpoint, credentials, region, s3_endpoint, ca, ready_file)
    with Worker.of(place, attester, devices, clock) as worker:
        zone = worker.do(locate(place.zone))
        names = tuple(scope) if scope is not None else worker.do(known_scope(only_synthetic=worker.only_synthetic))
        key = SessionKey()
        exchange = Exchange(key=key, purpose=purpose, scope=names, run=run, bind=bind)
        opened = worker.do(exchange.open())
    if opened.notice:
        print_notice(opened.notice, notice or sys.stderr)
    return assemble(worker, exchange, key, opened, zone, reattest=reattest, agent=agent)


def attest(
    endpoint: str | None = None, *, purpose: str, attester: str | Attester = "sample", **options: Any
) -> Session:
    """As `session`, with the sample attester unless another is named: for trying Demesne on synthetic data."""
    return session(endpoint, purpose=purpose, attester=attester, **options)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where this session's evidence comes from. Blocking: hardware may take seconds."""

    machine: Attester
    devices: tuple[DeviceAttester, ...]

    def prove_machine(self, bound: bytes) -> dict[str, Any]:
        return self.machine.evidence(bound)

    def prove_devices(self, nonce: bytes) -> list[dict[str, Any]]:
        """[{"kind", "evidence"}, …] in the order of the attesters. Raises Invalid for more than the protocol takes."""
        said = [entry for source in self.devices for entry in source.evidence(nonce)]
        if len(said) > MAX_DEVICES:
            raise Invalid("evidence.devices", f"{len(said)} devices; a session takes {MAX_DEVICES}")
        return [
            entry if set(entry) == {"kind", "evidence"} else {"kind": entry["kind"], "evidence": entry}
            for entry in said
        ]


class Worker:
    """Carries out the exchange's steps with blocking calls. One connection for each `with`."""

    def __init__(self, place: Destination, evidence: Evidence, clock: Callable[[], datetime]) -> None:
        self.place = place
        self.evidence = evidence
        self.clock = clock

    @classmethod
    def of(
        cls,
        place: Destination,
        attester: str | Attester,
        devices: Sequence[DeviceAttester] | None,
        clock: Callable[[], datetime],
    ) -> "Worker":
        machine, found = attesters.chosen(attester) if isinstance(attester, str) else (attester, ())
        return cls(place, Evidence(machine, found if devices is None else tuple(devices)), clock)

    @property
    def only_synthetic(self) -> bool:
        """Sample evidence opens nothing else: a scope with more would be refused whole."""
        return self.evidence.machine.kind == "sample"

    def do(self, steps: Any) -> Any:
        """Run an exchange to its end over the open connection."""
        return run(steps, self._carry_out)

    def alone(self, steps: Any) -> Any:
        """The same over a connection of its own: from any thread."""
        with Worker(self.place, self.evidence, self.clock) as worker:
            return worker.do(steps)

    def _carry_out(self, step: Step) -> Any:
        if isinstance(step, Ask):
            call = step.call
            response = self._connection.send(
                call.method, call.path, query=call.query, content=call.body,
                headers={"content-type": "application/json"} if call.body else {},
                payload_sha256=hashlib.sha256(call.body).hexdigest(),
            )  # fmt: skip
            return Answer(response.status_code, dict(response.headers), response.content)
        if isinstance(step, ProveDevices):
            return self.evidence.prove_devices(step.nonce)
        return self.evidence.prove_machine(step.report_data)

    def __enter__(self) -> "Worker":
        self._connection = self.place.connection(self.clock)
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def assemble(
    worker: Worker,
    exchange: Exchange,
    key: SessionKey,
    opened: Facts,
    zone: Zone,
    *,
    reattest: bool,
    agent: Place | None,
) -> Session:
    """The session of what the gateway opened, its agent running."""

    def again(facts: Facts) -> Facts:
        renewed: Facts = worker.alone(exchange.renew(facts, worker.clock()))
        if renewed.client_certificate and renewed.client_certificate != facts.client_certificate:
            write_private(certificate_path(served.directory)[0], renewed.client_certificate.encode("ascii"))
        return renewed

    keeper = Keeper(opened, reattest=again)
    served = Agent(
        credentials=keeper.credentials,
        reattest=keeper.reattest if reattest else None,
        fresh_seconds=opened.fresh_seconds,
        place=agent,
    )
    served.start()
    reach = Reach(
        served.uri, served.token_file, zone.s3_endpoint, zone.region, worker.place.ca, _certificate(served, key, opened)
    )
    return Session(
        keeper=keeper, agent=served, reach=reach, key=key,
        end=lambda facts: worker.alone(exchange.end(facts)),
        state=lambda statement: worker.alone(exchange.state(keeper.facts, statement)),
    )  # fmt: skip


def _certificate(agent: Agent, key: SessionKey, opened: Facts) -> ClientCertificate | None:
    if opened.client_certificate is None:
        return None
    certificate, private = certificate_path(agent.directory)
    write_private(certificate, opened.client_certificate.encode("ascii"))
    write_private(private, key.private_pem())
    return ClientCertificate(certificate, private)


def print_notice(text: str, stream: TextIO) -> None:
    """In a frame, on stderr: it must not be overlooked, and must not spoil a job's output."""
    edge = "!" * _NOTICE_WIDTH
    lines = [f"!!  {line:<{_NOTICE_WIDTH - 8}}  !!" for line in textwrap.wrap(text, _NOTICE_WIDTH - 8)]
    print("\n".join(["", edge, *lines, edge, ""]), file=stream, flush=True)
