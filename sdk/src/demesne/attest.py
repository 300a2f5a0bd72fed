"""attest(): challenge -> evidence -> session.

What the evidence commits to (design, section 4.4): `report_data` = SHA-512 over the canonical JSON of
{"v":1, nonce, gateway, key thumbprint, purpose, sorted scope, additional evidence}. So evidence of one
purpose cannot be shown for another, nor to another gateway, nor by who holds another key.
"""

import hashlib
import json
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from demesne import _wire, settings
from demesne._connection import now_utc
from demesne.agent import Agent
from demesne.client import Client
from demesne.credentials import Credentials
from demesne.errors import Invalid, Malformed, NotConfigured
from demesne.evidence import Attester, attester_named
from demesne.session import Facts, Keeper, Session

_JWE_ALGORITHMS = ["ECDH-ES+A256KW", "A256GCM"]
_NOTICE_WIDTH = 78
_RENEW_SECONDS = 20 * 60  # below this AWS SDKs re-fetch on every request (measured), so a new session is opened


def attest(
    endpoint: str | None = None,
    *,
    purpose: str,
    scope: Sequence[str] | None = None,
    run: str | None = None,
    credentials: Credentials | Mapping[str, str] | None = None,
    attester: str | Attester = "sample",
    reattest: bool = True,
    region: str | None = None,
    s3_endpoint: str | None = None,
    ca: Path | str | None = None,
    notice: TextIO | None = None,
    clock: Callable[[], datetime] = now_utc,
) -> Session:
    """Prove what runs here, and get S3 credentials for `purpose` that renew themselves.

    endpoint: the zone's API; default from DEMESNE_READY_FILE or DEMESNE_ENDPOINT.
    scope: names of the datasets to be opened raw; default all this principal may know of (with the
    sample attester: all flagged synthetic). run: name of the lineage run. credentials: the principal's own
    (default: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY). reattest=False leaves freshness to the caller.
    Raises Refused with rule and remedy, Unavailable, Malformed, NotConfigured.
    """
    place = _place(endpoint, credentials, region, s3_endpoint, Path(ca) if ca is not None else None)
    source = attester_named(attester) if isinstance(attester, str) else attester
    with place.client(clock) as client:
        zone = place.completed(client)
        names = tuple(sorted(set(scope))) if scope is not None else _known_scope(client, source)
    steps = _Steps(place, attester=source, purpose=purpose, scope=names, run=run, clock=clock)
    opened, said = steps.open()
    if said:
        _print_notice(said, notice or sys.stderr)
    keeper = Keeper(opened, reattest=steps.again)
    agent = Agent(
        credentials=keeper.credentials,
        reattest=keeper.reattest if reattest else None,
        fresh_seconds=opened.fresh_seconds,
    )
    agent.start()
    return Session(
        keeper=keeper, agent=agent, s3_endpoint=zone.s3_endpoint, region=zone.region, ca=place.ca,
        end=lambda: steps.end(keeper.session_id),
    )  # fmt: skip


def report_data(
    *, nonce: str, gateway: str, thumbprint: str, purpose: str, scope: Sequence[str], additional: str = ""
) -> bytes:
    """The 64 bytes evidence must carry. Canonical JSON (RFC 8785): only strings and one small integer occur,
    for which sorted keys, no spaces and UTF-8 are the whole of it. `additional`: `additional_digest` of what devices
    said."""
    binding = {
        "v": 1, "nonce": nonce, "gateway": gateway, "key": thumbprint, "purpose": purpose, "scope": sorted(scope),
        "additional": additional,
    }  # fmt: skip
    return hashlib.sha512(_canonical(binding)).digest()


def device_nonce(*, nonce: str, gateway: str, thumbprint: str, purpose: str, scope: Sequence[str]) -> bytes:
    """The 32 bytes that evidence of a device (a GPU, a switch) must carry: it cannot commit to itself."""
    return report_data(
        nonce=nonce, gateway=gateway, thumbprint=thumbprint, purpose=purpose, scope=scope, additional="device"
    )[:32]  # fmt: skip


def additional_digest(additional: Sequence[Mapping[str, Any]]) -> str:
    """What the machine's own evidence commits to of the devices': "" for none, else SHA-256 (hex) of the list
    `[{"kind","evidence"}, …]` as it is sent."""
    return hashlib.sha256(_canonical(list(additional))).hexdigest() if additional else ""


def _canonical(document: object) -> bytes:
    """RFC 8785 for documents of strings, integers, booleans, lists and objects with ASCII names."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


class _Place:
    """Where, and as whom: the answers of arguments, ready file and environment, in this order."""

    def __init__(self, zone: settings.Zone, credentials: Credentials, ca: Path | None) -> None:
        self.zone = zone
        self.credentials = credentials
        self.ca = ca

    def client(self, clock: Callable[[], datetime]) -> Client:
        zone = self.zone
        return Client(zone.api_endpoint, self.credentials, region=zone.region, ca=self.ca, clock=clock)

    def completed(self, client: Client) -> settings.Zone:
        """The zone with its S3 endpoint, asked of the gateway when nobody said it."""
        zone = self.zone
        if zone.s3_endpoint:
            return zone
        for entry in client.zones():
            if entry.get("name") in {zone.name, zone.region} and entry.get("s3_endpoint"):
                return settings.Zone(
                    str(entry["name"]), str(entry.get("jurisdiction", "")), zone.api_endpoint,
                    str(entry["s3_endpoint"]).rstrip("/"), zone.region,
                )  # fmt: skip
        raise NotConfigured(
            "endpoint.s3", "the gateway does not name its S3 endpoint", remedy=f"set {settings.S3_ENDPOINT}"
        )


def _place(
    endpoint: str | None,
    credentials: Credentials | Mapping[str, str] | None,
    region: str | None,
    s3_endpoint: str | None,
    ca: Path | None,
) -> _Place:
    known = _known_settings(endpoint)
    api = (endpoint or known.zone().api_endpoint if known else endpoint or "").rstrip("/")
    found = next((zone for zone in known.zones if zone.api_endpoint == api), None) if known else None
    zone = found or settings.Zone("", "", api)
    where = region or zone.region or zone.name
    if not where:
        raise NotConfigured(
            "region.missing", f"the zone behind {api} is not known", remedy=f"pass region= or set {settings.REGION}"
        )
    s3 = (s3_endpoint or zone.s3_endpoint).rstrip("/")
    zone = settings.Zone(zone.name or where, zone.jurisdiction, api, s3, where)
    return _Place(zone, _caller(credentials), ca or (known.ca if known else None))


def _known_settings(endpoint: str | None) -> settings.Settings | None:
    try:
        return settings.read()
    except NotConfigured:
        if endpoint is None:
            raise
        return None


def _caller(given: Credentials | Mapping[str, str] | None) -> Credentials:
    """The principal's own credentials; a ready file's steward never attests by accident."""
    if isinstance(given, Credentials):
        return given
    if given is not None:
        try:
            return Credentials(given["access_key_id"], given["secret_access_key"])
        except KeyError as error:
            raise Invalid("credentials", f"the credentials lack {error}") from None
    return settings.from_environment()


def _known_scope(client: Client, attester: Attester) -> tuple[str, ...]:
    only_synthetic = attester.kind == "sample"
    entries = client.datasets()
    names = tuple(sorted(str(e["name"]) for e in entries if not only_synthetic or e.get("synthetic", True)))
    if not names:
        raise Invalid("scope.empty", "there is no dataset this session could open", remedy="pass scope=[name, …]")
    return names


class _Steps:
    """The exchange with the gateway, again and again with one key."""

    def __init__(
        self,
        place: _Place,
        *,
        attester: Attester,
        purpose: str,
        scope: tuple[str, ...],
        run: str | None,
        clock: Callable[[], datetime],
    ) -> None:
        self._place = place
        self._attester = attester
        self._purpose = purpose
        self._scope = scope
        self._run = run
        self._clock = clock
        self._key = ECKey.generate_key("P-256")  # lives in this process only
        self._public: dict[str, Any] = {
            name: value for name, value in self._key.as_dict(private=False).items() if name in {"kty", "crv", "x", "y"}
        }

    def open(self) -> tuple[Facts, str | None]:
        """A new session: its facts, and the gateway's notice."""
        with self._place.client(self._clock) as client:
            challenge, evidence = self._prove(client)
            opened = client.open_session(
                challenge, evidence=evidence, key=self._public,
                purpose=self._purpose, scope=self._scope, run=self._run,
            )  # fmt: skip
        facts = Facts(
            session_id=opened.session_id,
            run_id=opened.run_id,
            purpose=opened.purpose,
            fresh_seconds=opened.fresh_seconds,
            credentials=self._unseal(opened.sealed),
        )
        return facts, opened.notice

    def again(self, facts: Facts) -> Facts:
        """Re-attest the session, or open its successor when its credentials come to their end."""
        if facts.credentials.seconds_left(self._clock()) < _RENEW_SECONDS:
            return self.open()[0]
        with self._place.client(self._clock) as client:
            challenge, evidence = self._prove(client)
            fresh = client.reattest(facts.session_id, challenge, evidence=evidence, key=self._public)
        return Facts(
            session_id=facts.session_id,
            run_id=facts.run_id,
            purpose=facts.purpose,
            fresh_seconds=fresh,
            credentials=facts.credentials,
        )

    def end(self, session_id: str) -> None:
        with self._place.client(self._clock) as client:
            client.end_session(session_id)

    def _prove(self, client: Client) -> tuple[_wire.Challenge, dict[str, Any]]:
        challenge = client.challenge(self._purpose, self._scope)
        bound = report_data(
            nonce=challenge.nonce,
            gateway=challenge.gateway,
            thumbprint=self._key.thumbprint(),
            purpose=self._purpose,
            scope=self._scope,
        )
        return challenge, self._attester.evidence(bound)

    def _unseal(self, sealed: str) -> Credentials:
        """Open the JWE with the session's key. Any other algorithm than ours is refused."""
        try:
            opened = jwe.decrypt_compact(sealed, self._key, algorithms=_JWE_ALGORITHMS)
        except (JoseError, ValueError) as error:
            raise Malformed("credentials.sealed", f"the credentials do not open: {type(error).__name__}") from None
        return _wire.read_credentials(opened.plaintext or b"")


def _print_notice(text: str, stream: TextIO) -> None:
    """In a frame, on stderr: it must not be overlooked, and must not spoil a job's output."""
    edge = "!" * _NOTICE_WIDTH
    lines = [f"!!  {line:<{_NOTICE_WIDTH - 8}}  !!" for line in textwrap.wrap(text, _NOTICE_WIDTH - 8)]
    print("\n".join(["", edge, *lines, edge, ""]), file=stream, flush=True)
