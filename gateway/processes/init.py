"""Set a zone up: directories, provider keys, catalog, store marker, and the first principals. Safe to repeat."""

import hashlib
import hmac
import json
import secrets

from gateway.identity.static_key import read_static_key
from gateway.identity.tokens import static_secret
from gateway.processes.providers import SETTING_UP_SECONDS, initialise_providers, open_providers
from gateway.processes.waiting import when_up
from gateway.processes.zone import initialise_store, now_ms, private_directory
from gateway.settings import Settings
from vault.catalog.catalog import Catalog
from vault.catalog.database import Database
from vault.catalog.seal import RowSeal
from vault.keys.durable import create_durable
from vault.keys.provider import KeyClass
from vault.keys.signing import ZoneSigner, verify_signature
from vault.keys.zone_secrets import ZoneSecrets

FIRST = {
    "steward": ("service", ("steward",), "stewardship"),
    "analyst": ("person", ("analyst",), "analytics"),
    "custodian": ("person", ("custodian",), "custody"),
}
GENESIS = "0" * 32  # the record of rows older than the ledger


def run_init(settings: Settings) -> int:
    """Prints {"steward": {"access_key_id", "secret_access_key"}, "analyst": {…}, …} on standard output."""
    for directory in (
        settings.zone_dir, settings.run_dir, settings.builder_socket.parent, settings.keeper_socket.parent,
        settings.signing_key_path.parent, settings.ledger_dir, settings.zone_dir / "decisions",
        settings.zone_dir / "tmp",
    ):  # fmt: skip
        private_directory(directory)  # each may be a mount
    initialise_providers(settings)
    providers = open_providers(settings, seconds=SETTING_UP_SECONDS)
    zone_secrets = ZoneSecrets(settings.zone_dir / "keys", providers[KeyClass.RAW])
    signer = ZoneSigner.load_or_create(settings.signing_key_path)
    when_up(lambda: initialise_store(settings), "the store")
    database = Database(settings.catalog_location)
    database.upgrade()
    catalog = Catalog(database, RowSeal(zone_secrets.derived("catalog-mac")), now_ms, tenant=settings.tenant)
    _settle_ledger(settings, catalog, signer.public_key)
    static_key = read_static_key(settings.static_key_path, create=True)
    made = {}
    for name, (kind, roles, purpose) in FIRST.items():
        access_key_id = "DSTA" + hmac.new(static_key, f"first/{name}".encode(), hashlib.sha256).hexdigest()[:16].upper()
        row = catalog.principal_named(name)
        if row is None:
            row = catalog.create_principal(name, kind, roles, settings.jurisdiction, [purpose], GENESIS)
        if access_key_id not in {credential.access_key_id for credential in catalog.credentials_of(row.principal_id)}:
            catalog.create_credential(access_key_id, row.principal_id, purpose, GENESIS)
        made[name] = {"access_key_id": access_key_id, "secret_access_key": static_secret(static_key, access_key_id)}
    catalog.close()
    print(json.dumps(made))
    return 0


def _settle_ledger(settings: Settings, catalog: Catalog, public_key: bytes) -> None:
    """Claim the one ledger this gateway writes: the shared one by its own id, or the files of this host. A ledger of
    this host's files is moved when a shared one is named for the first time."""
    named = settings.zone_dir / "ledger.id"
    create_durable(named, secrets.token_hex(16).encode())
    files = f"files:{named.read_text()}"
    if not settings.ledger_url:
        catalog.claim_ledger(settings.zone, files)
        return
    from lineage.ledger.moving import move_into
    from lineage.ledger.postgresql import SharedLog

    shared = SharedLog(settings.ledger_url, settings.zone, public_key, durable=settings.posture == "production")
    try:
        place = f"postgresql:{shared.initialise()}"
        if catalog.ledger_place(settings.zone) == files:
            if (settings.ledger_dir / "checkpoint").exists():
                move_into(
                    shared, settings.ledger_dir, settings.zone, public_key, verify_signature, holder=f"move:{files}"
                )
            catalog.move_ledger(settings.zone, files, place)
        catalog.claim_ledger(settings.zone, place)
    finally:
        shared.close()
