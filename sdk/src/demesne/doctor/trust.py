"""Which variable names the certificate authority to which client, and whether what is set there trusts a gateway.

What each client reads was measured (tests/conformance/test_ca_variables.py asks them again): a private authority in one
variable at a time, and whether a request arrived. No variable serves them all.
"""

import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from demesne.doctor.findings import Finding, State

TIMEOUT = 3.0


@dataclass(frozen=True, slots=True)
class Reader:
    """Clients that read the same `variables`: the first of them that is set counts."""

    clients: tuple[str, ...]
    variables: tuple[str, ...]


READERS = (
    Reader(("boto3", "s3fs", "aws"), ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")),
    Reader(("pyarrow", "obstore", "polars", "minio", "rclone", "s3cmd", "httpx"), ("SSL_CERT_FILE",)),
    Reader(("requests",), ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")),
    Reader(("curl",), ("CURL_CA_BUNDLE", "SSL_CERT_FILE")),
    Reader(("demesne",), ("DEMESNE_CA_BUNDLE",)),
)

Trusts = Callable[[str, str | None], str | None]
"""(endpoint, PEM file or None for the system's authorities) -> why a client with it would refuse, or None."""


def trust(endpoint: str, env: Mapping[str, str], ca: str | None, trusts: Trusts) -> list[Finding]:
    """One finding a group of clients; none for a plain endpoint. `ca`: the authority's file, where it is known."""
    if not endpoint.startswith("https://"):
        return []
    return [_group(reader, endpoint, env, ca, trusts) for reader in READERS]


def _group(reader: Reader, endpoint: str, env: Mapping[str, str], ca: str | None, trusts: Trusts) -> Finding:
    what = f"certificate for {', '.join(reader.clients)}"
    variable = next((name for name in reader.variables if env.get(name)), None)
    named = env[variable] if variable else None
    why = trusts(endpoint, named)
    shown = f"{variable}={named}" if variable else "the system's authorities"
    if why is None:
        return Finding(what, State.OK, f"{shown} trusts {endpoint}")
    wanted = variable or reader.variables[0]
    remedy = f"export {wanted}={ca or 'FILE'}" + ("" if ca else ", the PEM file of the authority that issued it")
    # What is set and wrong breaks every call; what is not set, only those of who uses that client.
    return Finding(what, State.FAIL if variable else State.WARN, f"{shown} does not trust {endpoint}: {why}", remedy)


def handshake(endpoint: str, bundle: str | None) -> str | None:
    """A `Trusts` that asks the gateway."""
    address = urlsplit(endpoint)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Not create_default_context(): it reads SSL_CERT_FILE itself, and would answer for clients that do not.
    paths = ssl.get_default_verify_paths()
    try:
        if bundle is not None:
            context.load_verify_locations(cafile=bundle)
        else:
            context.load_verify_locations(cafile=_there(paths.openssl_cafile), capath=paths.openssl_capath)
        place = (address.hostname or "", address.port or 443)
        with socket.create_connection(place, TIMEOUT) as raw, context.wrap_socket(raw, server_hostname=place[0]):
            return None
    except ssl.SSLCertVerificationError as error:
        return error.verify_message or "certificate verify failed"
    except (OSError, ValueError) as error:
        return f"{type(error).__name__}: {error}"


def _there(path: str) -> str | None:
    return path if Path(path).is_file() else None
