"""Traps in the variables that S3 clients read: each sends some client elsewhere, or keeps it from its credentials.

What clients do was measured (docs/clients.md; tests/conformance/test_client_traps.py asks them again). A check answers
one finding, or None where nothing is wrong.
"""

import ipaddress
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from demesne.doctor.findings import Finding, State

CONTAINER_URI = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
CONTAINER_RELATIVE_URI = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
CONTAINER_TOKEN_FILE = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"  # noqa: S105 - a variable's name
WEB_IDENTITY = "AWS_WEB_IDENTITY_TOKEN_FILE"
LINK_LOCAL_AGENTS = ("169.254.170.2", "169.254.170.23", "[fd00:ec2::23]")
CA_VARIABLES = ("AWS_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "DEMESNE_CA_BUNDLE")

Environment = Mapping[str, str]
Check = Callable[[Environment], Finding | None]


def environment(env: Environment) -> list[Finding]:
    """Every trap in `env`; one finding that says so when there is none."""
    found = [finding for check in CHECKS if (finding := check(env)) is not None]
    return found or [Finding("AWS environment", State.OK, "no traps")]


def _endpoint_of(env: Environment) -> str | None:
    return env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL")


def _for_a_gateway(env: Environment) -> bool:
    return bool(_endpoint_of(env) or env.get(CONTAINER_URI))


def endpoint(env: Environment) -> Finding | None:
    named = _endpoint_of(env)
    if named is None:
        return None
    return Finding(
        "AWS_ENDPOINT_URL", State.WARN, f"{named}; pyarrow's S3FileSystem(...) does not read it",
        "use session.pyarrow(), or pass endpoint_override= and scheme= yourself (Ray Data too)",
        "that constructor goes to Amazon: requests, bucket and key names leave the zone; its s3:// URIs are right",
    )  # fmt: skip


def plain_http(env: Environment) -> Finding | None:
    named = _endpoint_of(env) or ""
    if not named.startswith("http://") or env.get("AWS_ALLOW_HTTP", "").lower() in {"1", "true", "on", "yes", "y"}:
        return None
    return Finding(
        "AWS_ALLOW_HTTP", State.WARN, f"not set, and {named} is plain http", "export AWS_ALLOW_HTTP=true",
        "obstore refuses plain http without it",
    )  # fmt: skip


def region(env: Environment) -> Finding | None:
    one, other = env.get("AWS_REGION"), env.get("AWS_DEFAULT_REGION")
    if one and other and one != other:
        return Finding(
            "AWS_REGION", State.FAIL, f"AWS_REGION={one} but AWS_DEFAULT_REGION={other}",
            "set both to the zone's name", "clients differ in which they read, and signatures name it",
        )  # fmt: skip
    if _for_a_gateway(env) and not (one or other):
        return Finding(
            "AWS_REGION", State.WARN, "not set", "set AWS_REGION and AWS_DEFAULT_REGION to the zone's name",
            "signatures name the region, and the gateway has one",
        )  # fmt: skip
    return None


def agent_address(env: Environment) -> Finding | None:
    named = env.get(CONTAINER_URI)
    if not named:
        return None
    url = urlsplit(named)
    if url.scheme == "https" or url.netloc.partition("%")[0] in LINK_LOCAL_AGENTS or _is_loopback(url.hostname or ""):
        return None
    return Finding(
        CONTAINER_URI, State.FAIL, f"{named} is neither https nor this machine",
        "run the agent beside the job (demesne agent), or use the session's own",
        "AWS SDKs refuse other plain http hosts: the token would cross the network",
    )  # fmt: skip


def relative_uri(env: Environment) -> Finding | None:
    if not (env.get(CONTAINER_URI) and env.get(CONTAINER_RELATIVE_URI)):
        return None
    return Finding(
        CONTAINER_RELATIVE_URI, State.FAIL, f"set beside {CONTAINER_URI}: clients take it first",
        f"unset {CONTAINER_RELATIVE_URI} for the job", "they ask the container platform's agent, and act as its role",
    )  # fmt: skip


def token_file(env: Environment) -> Finding | None:
    named = env.get(CONTAINER_TOKEN_FILE)
    if named is None:
        return None
    try:
        raw = Path(named).read_bytes()
        mode = Path(named).stat().st_mode
    except OSError as error:
        return Finding(
            CONTAINER_TOKEN_FILE, State.FAIL, f"{named}: {error.strerror}", "is the agent still running?",
            "without its content the agent answers nobody",
        )  # fmt: skip
    if raw != raw.strip():
        return Finding(
            CONTAINER_TOKEN_FILE, State.FAIL, f"{named} begins or ends with white space (a newline?)",
            "write the token without one (printf, not echo)",
            "the file is sent as a header: botocore and rclone refuse it, obstore and polars panic",
        )  # fmt: skip
    if mode & 0o077:
        return Finding(
            CONTAINER_TOKEN_FILE, State.WARN, f"{named} may be read by others", f"chmod 600 {named}",
            "who reads it gets the session's credentials from the agent",
        )  # fmt: skip
    return None


def static_keys_win(env: Environment) -> Finding | None:
    if not (env.get(CONTAINER_URI) and env.get("AWS_ACCESS_KEY_ID")):
        return None
    return Finding(
        "AWS_ACCESS_KEY_ID", State.FAIL, "set beside the agent's endpoint: clients take the static key first",
        "unset AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN where a job should use its session",
        "the job acts as that key's principal, and silently reads masked views",
    )  # fmt: skip


def profile_wins(env: Environment) -> Finding | None:
    if not env.get(CONTAINER_URI):
        return None
    if env.get("AWS_PROFILE"):
        found = f"AWS_PROFILE={env['AWS_PROFILE']}"
    else:
        shared = env.get("AWS_SHARED_CREDENTIALS_FILE") or str(Path(env.get("HOME", "/")) / ".aws" / "credentials")
        if not _has_default_profile(Path(shared)):
            return None
        found = f"{shared} has a default profile"
    return Finding(
        "AWS_PROFILE", State.FAIL, f"{found}: botocore and pyarrow take it before the agent's endpoint",
        "unset AWS_PROFILE, and export AWS_SHARED_CREDENTIALS_FILE=/dev/null for the job",
        "the job acts as that profile's principal, and silently reads masked views or nothing",
    )  # fmt: skip


def _has_default_profile(path: Path) -> bool:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return False
    return "[default]" in (line.strip().replace(" ", "") for line in lines)


def web_identity(env: Environment) -> Finding | None:
    if not env.get(WEB_IDENTITY):
        return None
    if env.get(CONTAINER_URI):
        return Finding(
            WEB_IDENTITY, State.FAIL, "set beside the agent's endpoint: clients take the web identity first",
            f"unset {WEB_IDENTITY} and AWS_ROLE_ARN where a job should use its session",
            "an identity is not an attestation: the job silently reads masked views",
        )  # fmt: skip
    return Finding(
        WEB_IDENTITY, State.WARN, "set: pyarrow sends its requests unsigned; obstore and polars' own reader want https",
        "with these clients use an agent (demesne agent), or boto3 and s3fs",
        "pyarrow does not say so: it reads as nobody, and is refused",
    )  # fmt: skip


def instance_metadata(env: Environment) -> Finding | None:
    if not _for_a_gateway(env) or env.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return None
    return Finding(
        "AWS_EC2_METADATA_DISABLED", State.WARN, "not true", "export AWS_EC2_METADATA_DISABLED=true",
        "a client that finds no credentials asks 169.254.169.254: it waits, or signs as the machine's role",
    )  # fmt: skip


def proxies(env: Environment) -> Finding | None:
    proxied = {name: env.get(f"{name}_proxy") or env.get(f"{name}_proxy".upper()) for name in ("http", "https", "all")}
    bypass = env.get("no_proxy") or env.get("NO_PROXY") or ""
    for named in (env.get(CONTAINER_URI), _endpoint_of(env)):
        if not named:
            continue
        url = urlsplit(named)
        proxy = proxied.get(url.scheme) or proxied["all"]
        if proxy and not _bypassed(url.hostname or "", bypass):
            return Finding(
                "NO_PROXY", State.FAIL, f"a proxy is set and {url.hostname} is not in NO_PROXY",
                f"export NO_PROXY and no_proxy={','.join(part for part in (bypass, url.hostname) if part)}",
                "some clients would send the agent's token, or the data, to the proxy; others fail to reach it",
            )  # fmt: skip
    return None


def _bypassed(host: str, no_proxy: str) -> bool:
    """Named itself, by its domain, or by `*`: what all clients understand. Address ranges only some do."""
    names = [name.strip().lstrip(".") for name in no_proxy.split(",") if name.strip()]
    return any(name in {"*", host} or host.endswith(f".{name}") for name in names)


def ca_bundles(env: Environment) -> Finding | None:
    for name in CA_VARIABLES:
        named = env.get(name)
        if not named or Path(named).is_dir():
            continue
        try:
            good = b"-----BEGIN CERTIFICATE-----" in Path(named).read_bytes()
            found = "holds no PEM certificate"
        except OSError as error:
            good, found = False, str(error.strerror)
        if not good:
            return Finding(
                name, State.FAIL, f"{named}: {found}", f"name a PEM file of authorities, or unset {name}",
                "the clients that read it trust nobody, and reach nothing",
            )  # fmt: skip
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


CHECKS: tuple[Check, ...] = (
    endpoint, plain_http, region, agent_address, relative_uri, token_file, static_keys_win, profile_wins, web_identity,
    instance_metadata, proxies, ca_bundles,
)  # fmt: skip
