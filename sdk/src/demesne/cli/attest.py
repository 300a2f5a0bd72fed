"""`demesne attest` on a machine that has to prove itself: what it can, enrolling its TPM, and what stewards do then."""

import base64
import json as jsons
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from demesne.cli.output import Json, ReadyFile, ZoneName, console, print_json, print_table, settings_of
from demesne.client import Client
from demesne.errors import Invalid, Malformed
from demesne.evidence.detect import Places, detect
from demesne.evidence.tpm import DEFAULT_PCRS, KEY_HANDLE
from demesne.evidence.tpm_commands import ECC, RSA, Tpm
from demesne.evidence.tpm_device import DEVICE, opened
from demesne.evidence.tpm_enrolment import activate, prepare

_HELP = "Evidence of machines, and what is no longer trusted."
_ALGORITHMS = {"rsa": RSA, "ecc": ECC}
Device = Annotated[Path, typer.Option("--device", help="The TPM: the kernel's device, or swtpm's socket.")]
Who = Annotated[str, typer.Option("--as", help="Whose credentials of the ready file; else those of the environment.")]
Key = Annotated[str, typer.Argument(help="Name of an attestation key, as `attest keys` shows it.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, in words the auditor will read.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help=_HELP, no_args_is_help=True)
    commands: dict[str, Callable[..., None]] = {
        "detect": show_detected, "enrol-tpm": enrol_tpm, "pcrs": show_pcrs, "keys": list_keys,
        "approve-tpm": approve_tpm, "retire-tpm": retire_tpm,
    }  # fmt: skip
    for name, command in commands.items():
        group.command(name)(command)
    app.add_typer(group, name="attest")


def show_detected(
    audience: Annotated[str, typer.Option("--audience", help="Of Confidential Space tokens.")] = "",
    device: Device = DEVICE, json: Json = False,
) -> None:  # fmt: skip
    """Say which evidence this machine can give, and why not the rest. Nothing is attested by asking."""
    found = detect(Places(audience=audience, tpm=lambda: opened(device)))
    if json:
        print_json({"evidence": [{"kind": each.kind, "found": each.found, "why": each.why} for each in found]})
        return
    rows = [[each.kind, "yes" if each.found else "no", each.why] for each in found]
    print_table("Evidence of this machine", ["kind", "here", "why"], rows)


def enrol_tpm(
    purpose: Annotated[str, typer.Option("--purpose", help="A purpose that the caller may open sessions for.")],
    handle: Annotated[str, typer.Option("--handle", help="Where the key is, or will be made.")] = f"0x{KEY_HANDLE:08x}",
    endorsement: Annotated[str, typer.Option("--ek", help="Endorsement key: rsa or ecc.")] = "rsa",
    certificate: Annotated[
        Path | None, typer.Option("--ek-certificate", help="Its certificate, where the TPM does not hold it.")
    ] = None,
    issuers: Annotated[
        list[Path] | None, typer.Option("--issuer", help="A certificate between that and the maker's root.")
    ] = None,
    device: Device = DEVICE, who: Who = "caller", zone: ZoneName = None, ready_file: ReadyFile = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Enrol this machine's TPM: make an attestation key in it, and prove to the gateway that it is there.

    A steward approves what it boots afterwards: `demesne attest approve-tpm`.
    """
    if endorsement not in _ALGORITHMS:
        raise Invalid("usage", "--ek is rsa or ecc")
    at = _handle(handle)
    leaf = _certificates(certificate)[0] if certificate else None
    between = [der for path in issuers or () for der in _certificates(path)]
    with Client.from_settings(settings_of(ready_file), zone=zone, role=who) as client, Tpm(opened(device)) as tpm:
        prepared = prepare(tpm, key_handle=at, endorsement=_ALGORITHMS[endorsement], issuers=between, certificate=leaf)
        begun = client.request("POST", "/v1/tpm/enrolments", document={"purpose": purpose} | prepared.request)
        blob, encrypted = _bytes(begun, "credential_blob"), _bytes(begun, "encrypted_secret")
        secret = base64.b64encode(activate(tpm, prepared, blob, encrypted, key_handle=at)).decode("ascii")
        key = client.request("PUT", f"/v1/tpm/enrolments/{begun['enrolment_id']}", document={"secret": secret})
    if json:
        print_json(key)
        return
    console().print(f"Enrolled: {key['key_name']}", markup=False)
    console().print(
        "It opens nothing yet. On this machine: demesne attest pcrs --json > pcrs.json; then a steward: "
        f"demesne attest approve-tpm {key['key_name']} --pcrs pcrs.json --reason …", markup=False,
    )  # fmt: skip


def show_pcrs(
    pcrs: Annotated[str, typer.Option("--pcr", help="Indices, with commas.")] = ",".join(map(str, DEFAULT_PCRS)),
    device: Device = DEVICE, json: Json = False,
) -> None:  # fmt: skip
    """Show the PCR values of now; with --json as `approve-tpm --pcrs` takes them. Read where the boot is known."""
    indices = _indices(pcrs)
    with Tpm(opened(device)) as tpm:
        found = sorted(tpm.pcrs(indices).items())
    if json:
        print_json({str(index): [value.hex()] for index, value in found})
    else:
        print_table("PCRs, SHA-256", ["pcr", "value"], [[str(index), value.hex()] for index, value in found])


def list_keys(
    who: Who = "steward", zone: ZoneName = None, ready_file: ReadyFile = None, json: Json = False,
) -> None:  # fmt: skip
    """List enrolled attestation keys: a steward all, others their own."""
    with Client.from_settings(settings_of(ready_file), zone=zone, role=who) as client:
        found = client.request("GET", "/v1/tpm/keys")
    if json:
        print_json({"keys": found})
        return
    rows = [
        [each["key_name"], each["state"], each["principal_id"], ", ".join(sorted(each["pcr_policy"], key=int)),
         each["enrolled_at"]]
        for each in found
    ]  # fmt: skip
    print_table("Attestation keys of TPMs", ["key_name", "state", "principal_id", "pcrs", "enrolled_at"], rows)


def approve_tpm(
    key: Key,
    pcrs: Annotated[Path, typer.Option("--pcrs", help="JSON: PCR → admitted values, as `attest pcrs` writes it.")],
    reason: Reason, who: Who = "steward", zone: ZoneName = None, ready_file: ReadyFile = None, json: Json = False,
) -> None:  # fmt: skip
    """Admit exactly these PCR values for this key, and no others any more."""
    try:
        policy = jsons.loads(pcrs.read_bytes())
    except (OSError, ValueError) as error:
        raise Invalid("pcrs", f"{pcrs}: {error}", remedy="demesne attest pcrs --json > FILE") from error
    with Client.from_settings(settings_of(ready_file), zone=zone, role=who) as client:
        document = {"pcrs": policy, "reason": reason}
        found = client.request("PUT", f"/v1/tpm/keys/{_name(key)}/policy", document=document)
    _said(found, json=json)


def retire_tpm(
    key: Key, reason: Reason, who: Who = "steward", zone: ZoneName = None, ready_file: ReadyFile = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Trust this key no more, for good. `attest revoke --platform KEY` ends its sessions at once."""
    with Client.from_settings(settings_of(ready_file), zone=zone, role=who) as client:
        found = client.request("DELETE", f"/v1/tpm/keys/{_name(key)}", query={"reason": reason})
    _said(found, json=json)


def _said(key: dict[str, Any], *, json: bool) -> None:
    if json:
        print_json(key)
    else:
        console().print(f"{key['key_name']}: {key['state']}", markup=False)


def _handle(text: str) -> int:
    try:
        found = int(text, 16)
    except ValueError:
        found = 0
    if not 0x81000000 <= found <= 0x81FFFFFF:
        raise Invalid("usage", f"{text} is no persistent handle", remedy="0x81000000 to 0x81ffffff")
    return found


def _indices(text: str) -> list[int]:
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(0 <= index < 24 for index in found):
        raise Invalid("usage", f"--pcr {text}", remedy="numbers from 0 to 23, with commas")
    return found


def _certificates(path: Path) -> list[bytes]:
    """DER of each certificate in a file, PEM or DER."""
    try:
        raw = path.read_bytes()
        pem = raw.lstrip().startswith(b"-----")
        loaded = x509.load_pem_x509_certificates(raw) if pem else [x509.load_der_x509_certificate(raw)]
    except (OSError, ValueError) as error:
        raise Invalid("certificate", f"{path}: {error}") from error
    return [certificate.public_bytes(Encoding.DER) for certificate in loaded]


def _bytes(document: dict[str, Any], name: str) -> bytes:
    try:
        return base64.b64decode(document[name], validate=True)
    except (KeyError, TypeError, ValueError) as error:
        raise Malformed("enrolment", f"the gateway's challenge has no {name}") from error


def _name(key: str) -> str:
    if not key.isalnum():
        raise Invalid("usage", "not a key's name", remedy="demesne attest keys")
    return key
