"""The key broker process: the only one that loads key providers."""

import secrets
import signal
import threading

from gateway.processes.providers import open_providers
from gateway.processes.zone import now_ms, open_catalog
from gateway.settings import Settings
from lineage.errors import LineageError
from lineage.ledger.client import SyncLedgerClient
from lineage.ledger.promise import Promise
from vault.attest.admitted.verifiers import admitted_verifiers
from vault.attest.tpm.enrolment import EndorsementTrust
from vault.attest.trust.directory import TrustDirectory
from vault.broker.checks import ReleasePolicy
from vault.broker.methods import Role
from vault.broker.ports import PromiseFacts
from vault.broker.server import BrokerServer
from vault.broker.service import Broker, BrokerParts
from vault.broker.tpm_keys import EnrolledTpmKeys
from vault.broker.tpm_office import TpmOffice, TpmParts
from vault.errors import Refused, Unavailable
from vault.keys.deadline import MANAGING_SECONDS, DeadlineProvider
from vault.keys.marks import LocalMarks
from vault.keys.provider import KeyClass
from vault.keys.signing import ZoneSigner, verify_signature
from vault.keys.zone_secrets import ZoneSecrets


def run_broker(settings: Settings) -> int:
    providers = open_providers(settings)
    raw, view = providers[KeyClass.RAW], providers[KeyClass.VIEW]
    zone_secrets = ZoneSecrets(settings.zone_dir / "keys", DeadlineProvider(raw, budget_seconds=MANAGING_SECONDS))
    public_key = ZoneSigner.load_or_create(settings.signing_key_path).public_key
    catalog = open_catalog(settings, zone_secrets.derived("catalog-mac"))
    ledger = SyncLedgerClient(settings.ledger_socket, settings.zone)

    development = settings.posture == "development"

    def verify_promise(text: str, entry: bytes) -> PromiseFacts:
        try:
            promise = Promise.decode(text)
            promise.verify(entry, public_key, verify_signature)
        except LineageError as error:
            raise Refused("promise", str(error)) from error
        return PromiseFacts(promise.at, promise.index)

    trust = TrustDirectory(settings.trust_path, development=development)
    marks = LocalMarks(settings.zone_dir / "keys")
    tpm_keys = EnrolledTpmKeys(catalog, zone_secrets.derived("tpm-key-seal"), marks, zone=settings.zone)
    policy = ReleasePolicy(
        tenant=settings.tenant, zone=settings.zone, posture=settings.posture,
        freshness_ms=settings.freshness_seconds * 1000,
    )  # fmt: skip
    tpm = TpmOffice(
        TpmParts(
            policy=policy, catalog=catalog, keys=tpm_keys, trust=lambda now: endorsement_trust(trust, now),
            secret=zone_secrets.derived("tpm-enrolment"), verify_promise=verify_promise, clock=now_ms,
            random=secrets.token_bytes,
        )
    )  # fmt: skip

    def record(entry: dict[str, object]) -> None:
        try:
            ledger.append(entry)
        except LineageError as error:
            raise Unavailable("ledger", str(error)) from error

    broker = Broker(
        BrokerParts(
            policy=policy,
            provider_raw=raw, provider_view=view, secrets=zone_secrets, catalog=catalog,
            # Sample evidence is admitted in development only; the doctrine and check 6 say so once more.
            verifiers=admitted_verifiers(trust, development=development, find_tpm_key=tpm_keys.find),
            verify_promise=verify_promise, ledger_public_key=public_key, record=record, clock=now_ms,
            marks=marks, tpm=tpm, destroy_days=settings.destroy_days,
        )
    )  # fmt: skip
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    sockets = {settings.broker_socket: Role.FRONT, settings.builder_socket: Role.BUILDER,
               settings.keeper_socket: Role.KEEPER}  # fmt: skip
    with BrokerServer(broker, sockets) as server:
        server.serve_until(stop)
    return 0


def endorsement_trust(trust: TrustDirectory, now: int) -> EndorsementTrust:
    """Whose endorsement certificates count now; nobody's while the file is missing, expired or unreadable."""
    found = trust.material(now).tpm.valid(now)
    return EndorsementTrust(found.endorsement_roots, found.endorsement_certificates) if found else EndorsementTrust()
