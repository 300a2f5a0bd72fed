"""What `demesne doctor` says of the key provider that this environment names, without reading a credential."""

import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from demesne.doctor.findings import Finding, State

WHAT = "key provider"
CREDENTIALS = ("DEMESNE_KEY_CREDENTIAL_RAW", "DEMESNE_KEY_CREDENTIAL_VIEW")
Reach = Callable[[str, str | None], str]
"""(https URL, file of authorities) -> why it cannot be reached, "" when it can."""


def key_provider(environment: Mapping[str, str], reach: Reach) -> list[Finding]:
    """Nothing where none is named; otherwise the provider itself, its place, and both credential files."""
    named = environment.get("DEMESNE_KEY_PROVIDER", "")
    if not named:
        return []
    url = urlsplit(named)
    query = parse_qs(url.query)
    ca = environment.get("DEMESNE_KEY_PROVIDER_CA")
    match url.scheme:
        case "vault+https" | "vault+http":
            server = f"{url.scheme.removeprefix('vault+')}://{url.netloc}/v1/sys/health?standbyok=true"
            found = [_reached(f"Transit at {url.netloc}", reach(server, ca))]
        case "awskms":
            server = query.get("endpoint", [f"https://kms.{url.netloc}.amazonaws.com"])[0]
            found = [_reached(f"KMS in {url.netloc}", reach(server, ca))]
        case "pkcs11":
            found = [_module(Path(url.path))]
        case _:
            return [Finding(WHAT, State.FAIL, named, "vault+https://…, awskms://REGION or pkcs11:/MODULE.so?token=…")]
    if url.scheme != "awskms" and not query.get("location"):
        found.append(Finding(f"{WHAT}: place", State.FAIL, "no location= in DEMESNE_KEY_PROVIDER",
                             "say in which jurisdiction it lies, or the zone stays closed"))  # fmt: skip
    return [*found, *_credentials(environment)]


def _reached(name: str, problem: str) -> Finding:
    if problem:
        return Finding(WHAT, State.FAIL, f"{name}: {problem}", "check address, network, DEMESNE_KEY_PROVIDER_CA")
    return Finding(WHAT, State.OK, name)


def _module(path: Path) -> Finding:
    if not path.is_file():
        return Finding(WHAT, State.FAIL, f"{path} is not there", "install the token's module (softhsm2 for a trial)")
    return Finding(WHAT, State.OK, str(path))


def _credentials(environment: Mapping[str, str]) -> list[Finding]:
    paths = {name: environment.get(name, "") for name in CREDENTIALS}
    if not all(paths.values()) or len(set(paths.values())) != len(paths):
        return [Finding(f"{WHAT}: credentials", State.FAIL, "not two different files",
                        f"set {' and '.join(CREDENTIALS)}, one file for each key class")]  # fmt: skip
    return [_credential(name, Path(path)) for name, path in paths.items()]


def _credential(name: str, path: Path) -> Finding:
    what = f"{WHAT}: {name.rpartition('_')[2].lower()} credential"
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        return Finding(what, State.FAIL, f"{path}: {error.strerror}", f"{name} names a file for broker and init")
    if mode & 0o077:
        return Finding(what, State.WARN, f"{path} may be read by others", f"chmod 600 {path}")
    return Finding(what, State.OK, str(path))
