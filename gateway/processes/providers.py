"""The zone's key provider by its URL: one connection for each key class, each under a credential of its own.

    (empty)                                                   local files below the state directory
    vault+https://host:8200/transit?location=de[&prefix=…]    HashiCorp Vault or OpenBao; the path is the engine's mount
    awskms://eu-central-1[?endpoint=…&prefix=…]               AWS KMS
    pkcs11:/path/module.so?token=demesne&location=de          tokens demesne-raw and demesne-view

Only the broker and init come here: nobody else loads provider code or reads a credential.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, urlsplit

from gateway.settings import Settings
from vault.endpoint.address import Endpoint, parse_endpoint, parse_networks, parse_pins
from vault.endpoint.dialer import Dialer
from vault.errors import Refused
from vault.keys.local import LocalProvider
from vault.keys.names import EpochNames
from vault.keys.provider import KeyClass, KeyProvider, ProviderLocation
from vault.keys.verified import VerifiedProvider

CALL_SECONDS = 0.25
SETTING_UP_SECONDS = 2.0
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}")
_MOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(/[A-Za-z0-9][A-Za-z0-9_-]*)*")
_PRINTED = re.compile(r"[ -~]+")
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")


@dataclass(frozen=True, slots=True)
class _Asked:
    """What every scheme needs. `seconds`: of one request."""

    settings: Settings
    url: SplitResult
    query: Mapping[str, str]
    seconds: float

    def names(self, key_class: KeyClass) -> EpochNames:
        return EpochNames(key_class, self.settings.zone, self.query.get("prefix", "demesne"))

    def credential(self, key_class: KeyClass) -> Path:
        raw, view = self.settings.key_credential_raw, self.settings.key_credential_view
        path = raw if key_class is KeyClass.RAW else view
        if path is None or raw == view:
            raise Refused("provider.credential", "DEMESNE_KEY_CREDENTIAL_RAW and …_VIEW must name two different files")
        return path

    def dialer(self, endpoint: Endpoint) -> Dialer:
        """The only way to it: as a store's, checked and opened in one step."""
        return Dialer(
            "provider", [endpoint], networks=parse_networks(self.settings.key_networks),
            pins=parse_pins(self.settings.key_pins),
        )  # fmt: skip

    def vouched(self, strength: str, target: str) -> ProviderLocation:
        """A provider that knows no place lies where the operator's own setting says; without a word it lies nowhere."""
        where = self.query.get("location", "")
        return ProviderLocation(where, strength if where else "none", target)


def open_providers(settings: Settings, *, seconds: float = CALL_SECONDS) -> dict[KeyClass, KeyProvider]:
    """Both connections; no request is made. `Refused("provider.url" | "provider.credential" | "endpoint.…")`."""
    if not settings.key_provider:
        keys = settings.zone_dir / "keys"
        return {key_class: LocalProvider.connect(keys, key_class) for key_class in KeyClass}
    asked = _asked(settings, seconds)
    match asked.url.scheme:
        case "vault+https" | "vault+http":
            made = _transit(asked)
        case "awskms":
            made = _kms(asked)
        case "pkcs11":
            made = _pkcs11(asked, initialise=False)
        case _:
            raise Refused("provider.url", "vault+https://…, awskms://REGION or pkcs11:/MODULE.so?token=…")
    return {key_class: VerifiedProvider(provider) for key_class, provider in made.items()}


def initialise_providers(settings: Settings) -> None:
    """What has to be there before the first epoch; changes nothing that is. Raises as `open_providers`, Unavailable."""
    if not settings.key_provider:
        LocalProvider.initialise(settings.zone_dir / "keys", settings.jurisdiction)
    elif (asked := _asked(settings, SETTING_UP_SECONDS)).url.scheme == "pkcs11":
        _pkcs11(asked, initialise=True)


def _asked(settings: Settings, seconds: float) -> _Asked:
    # The library drops tabs and line feeds, and what is left is another host.
    if not _PRINTED.fullmatch(settings.key_provider):
        raise Refused("provider.url", "plain ASCII without control characters")
    try:
        url = urlsplit(settings.key_provider)
    except ValueError:
        raise Refused("provider.url", "the host does not parse") from None
    query = {name: values[-1] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
    return _Asked(settings, url, query, seconds)


def _transit(asked: _Asked) -> dict[KeyClass, KeyProvider]:
    from vault.keys.transit import TransitProvider
    from vault.keys.transit_api import TransitApi

    _only(asked, {"location", "prefix", "namespace"})
    endpoint = _endpoint(f"{asked.url.scheme.removeprefix('vault+')}://{asked.url.netloc}")
    mount = asked.url.path.strip("/") or "transit"
    if not _MOUNT.fullmatch(mount) or asked.url.fragment:
        raise Refused("provider.url", "the path is the mount of a Transit engine")
    ca = asked.settings.key_provider_ca
    # A certificate of an authority that was named fixes who answers; what the answerer's place is, is still a word.
    strength = "network" if ca is not None and endpoint.scheme == "https" else "self-reported"
    location = asked.vouched(strength, f"transit:{endpoint.host}:{endpoint.port}/{mount}")
    return {
        key_class: TransitProvider(
            TransitApi(
                endpoint.url, asked.credential(key_class), dialer=asked.dialer(endpoint), ca=ca, seconds=asked.seconds,
                namespace=asked.query.get("namespace"),
            ),
            asked.names(key_class), mount=mount, location=location,
        )
        for key_class in KeyClass
    }  # fmt: skip


def _kms(asked: _Asked) -> dict[KeyClass, KeyProvider]:
    from vault.keys.aws_kms import KmsProvider
    from vault.keys.aws_kms_client import KmsClient

    _only(asked, {"endpoint", "prefix"})
    region, ca = asked.url.netloc, asked.settings.key_provider_ca
    if not _REGION.fullmatch(region) or asked.url.path.strip("/") or asked.url.fragment:
        raise Refused("provider.url", "awskms://REGION, such as awskms://eu-central-1")
    given = asked.query.get("endpoint")
    china = ".cn" if region.startswith("cn-") else ""
    endpoint = _endpoint(given or f"https://kms.{region}.amazonaws.com{china}")
    strength = "network" if ca is not None and endpoint.scheme == "https" else "self-reported"
    clients = {
        key_class: KmsClient(
            asked.credential(key_class), region=region, endpoint=endpoint.url, dialer=asked.dialer(endpoint), ca=ca,
            seconds=asked.seconds,
        )
        for key_class in KeyClass
    }  # fmt: skip
    for client in clients.values():
        client.prepare()
    return {
        key_class: KmsProvider(client, asked.names(key_class), region=region, strength=strength)
        for key_class, client in clients.items()
    }


def _pkcs11(asked: _Asked, *, initialise: bool) -> dict[KeyClass, KeyProvider]:
    from vault.keys.pkcs11_module import Pkcs11Module, Pkcs11Token
    from vault.keys.pkcs11_token import Pkcs11Provider

    _only(asked, {"token", "location", "prefix"})
    path, token = Path(asked.url.path), asked.query.get("token", "")
    if asked.url.netloc or not path.is_absolute() or not _WORD.fullmatch(token) or asked.url.fragment:
        raise Refused("provider.url", "pkcs11:/PATH/MODULE.so?token=LABEL, for the tokens LABEL-raw and LABEL-view")
    module = Pkcs11Module(path)
    made = {
        key_class: Pkcs11Provider(
            Pkcs11Token(module, f"{token}-{key_class}", asked.credential(key_class)),
            asked.names(key_class),
            asked.vouched("self-reported", f"pkcs11:{token}-{key_class}"),
        )
        for key_class in KeyClass
    }
    if initialise:
        for each in made.values():
            each.initialise()
    return dict(made)


def _endpoint(url: str) -> Endpoint:
    endpoint = parse_endpoint(url)
    if endpoint.scheme != "https" and endpoint.host not in _LOOPBACK:
        raise Refused("provider.url", "in clear only on loopback: keys cross this connection")
    return endpoint


def _only(asked: _Asked, known: set[str]) -> None:
    if odd := sorted(set(asked.query) - known):
        raise Refused("provider.url", f"{odd[0]}: only {', '.join(sorted(known))} may follow the ?")
