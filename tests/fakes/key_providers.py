"""Every key provider there is, each as it is deployed, behind one description: what a test of the port needs of it."""

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.processes.providers import open_providers
from gateway.settings import Settings
from tests.fakes.kms_server import REGION, KmsServer, kms_server
from tests.fakes.openbao import OpenBao, bao_binary, openbao
from tests.fakes.softhsm import SoftHsm, softhsm, softhsm_module
from vault.endpoint.address import parse_endpoint, parse_networks
from vault.endpoint.dialer import Dialer
from vault.keys.local import LocalProvider
from vault.keys.names import EpochNames
from vault.keys.pkcs11_module import Pkcs11Module, Pkcs11Token
from vault.keys.pkcs11_token import Pkcs11Provider
from vault.keys.provider import KeyClass, KeyProvider, ProviderLocation
from vault.keys.transit import TransitProvider
from vault.keys.transit_api import TransitApi
from vault.keys.verified import VerifiedProvider

KINDS = ("local", "transit", "kms", "pkcs11")
Connect = Callable[[KeyClass], KeyProvider]
LOOPBACK = "127.0.0.0/8"
SLOW = 5.0  # seconds of one request in tests of meaning: the machine may be busy, budgets have tests of their own


@dataclass(frozen=True)
class Provided:
    """One kind: both connections, and what differs."""

    kind: str
    raw: KeyProvider
    view: KeyProvider
    again: Callable[[], KeyProvider]
    """The raw connection of a process that has just started."""
    waits: bool
    """Destruction waits for days, whoever asks."""


def missing(kind: str) -> str:
    """Why this kind cannot be tested here; empty when it can."""
    if kind == "transit" and bao_binary() is None:
        return "bao is not installed"
    if kind == "pkcs11" and softhsm_module() is None:
        return "softhsm2 is not installed"
    return ""


@contextmanager
def provided(kind: str, directory: Path) -> Iterator[Provided]:
    """The kind's server, token or files, set up anew."""
    with ExitStack() as stack:
        connect = _connections(kind, directory, stack)
        yield Provided(
            kind, connect(KeyClass.RAW), connect(KeyClass.VIEW), lambda: connect(KeyClass.RAW), waits=kind == "kms"
        )


def _connections(kind: str, directory: Path, stack: ExitStack) -> Connect:
    if kind == "local":
        LocalProvider.initialise(directory / "keys", "de")
        return lambda key_class: LocalProvider.connect(directory / "keys", key_class)
    if kind == "transit":
        return transit_connections(stack.enter_context(openbao(directory)))
    if kind == "kms":
        settings = kms_settings(stack.enter_context(kms_server(directory)))
        return lambda key_class: open_providers(settings, seconds=SLOW)[key_class]
    hsm = softhsm(directory, suffix=f"-{secrets.token_hex(4)}")
    stack.enter_context(loaded(hsm))
    return pkcs11_connections(hsm)


def kms_settings(kms: KmsServer) -> Settings:
    return Settings(
        zone="de", jurisdiction="de", state_dir=kms.directory / "state",
        key_provider=f"awskms://{REGION}?endpoint={kms.url}", key_networks=LOOPBACK,
        key_credential_raw=kms.credentials[KeyClass.RAW], key_credential_view=kms.credentials[KeyClass.VIEW],
    )  # fmt: skip


def to_loopback(url: str) -> Dialer:
    """A server of the tests, as a deployment declares a private one."""
    return Dialer("provider", [parse_endpoint(url)], networks=parse_networks(LOOPBACK))


def transit_connections(bao: OpenBao) -> Connect:
    def connect(key_class: KeyClass) -> KeyProvider:
        return VerifiedProvider(transit_provider(bao, key_class))

    return connect


def transit_provider(
    bao: OpenBao, key_class: KeyClass, *, credential: Path | None = None, url: str | None = None,
    ca: Path | None = None, seconds: float = SLOW,
) -> TransitProvider:  # fmt: skip
    """`credential`: of another class, or spoilt. `url`: what stands between."""
    api = TransitApi(
        url or bao.url, credential or bao.credentials[key_class], dialer=to_loopback(url or bao.url), ca=ca or bao.ca,
        seconds=seconds,
    )  # fmt: skip
    return TransitProvider(
        api, EpochNames(key_class, "de"), mount="transit", location=ProviderLocation("de", "network", "transit")
    )


def pkcs11_connections(hsm: SoftHsm) -> Connect:
    module = Pkcs11Module(hsm.module)

    def connect(key_class: KeyClass) -> KeyProvider:
        token = Pkcs11Token(module, hsm.labels[key_class], hsm.pins[key_class])
        provider = Pkcs11Provider(token, EpochNames(key_class, "de"), ProviderLocation("de", "self-reported", "hsm"))
        provider.initialise()
        return VerifiedProvider(provider)

    return connect


@contextmanager
def loaded(hsm: SoftHsm) -> Iterator[None]:
    """This process loads SoftHSM with this configuration for a while, as a process of its own would."""
    import pkcs11

    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(hsm.configuration)
    pkcs11.lib(str(hsm.module)).reinitialize()
    try:
        yield
    finally:
        if before is None:
            del os.environ["SOFTHSM2_CONF"]
        else:
            os.environ["SOFTHSM2_CONF"] = before


def in_a_process(program: str, *arguments: str, **environment: str) -> str:
    """Standard output of a short program of its own: what one credential can do where no other was ever used."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
             **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
