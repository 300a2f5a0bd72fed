"""Targets of what an operator or a maker writes: manifests, collateral, and the files of a trust directory."""

import functools
import json
from collections.abc import Callable
from typing import Any

from tests.fakes.attest_intel import FakeIntel
from tests.fakes.attest_manifest import DRIVER, FakeManifests
from tests.fakes.attest_nvidia import FakeNvidia, ocsp_answer
from tests.fakes.attest_pki import NOW, revocations
from tests.fakes.attest_tokens import FakeIssuer
from tests.fakes.attest_trust import PLATFORMS, dcap_form, instant, jwks
from vault.attest.claims import Refusal, refuse
from vault.attest.nvidia.manifest import parse_reference_manifest
from vault.attest.trust.endorsers import parse_endorsers
from vault.attest.trust.issuers import parse_issuers
from vault.attest.trust.platforms import parse_platforms
from vault.attest.trust.references import parse_references
from vault.attest.trust.roots import Roots
from vault.attest.trust.tpm_keys import parse_tpm_keys
from vault.collateral.candidates import Anchors, Candidate, candidate
from vault.errors import Malformed

Read = Callable[[bytes], Any]
DID = f"did:x509:0:sha256:{'A' * 43}::eku:1.3.6.1"


class Collected:
    """Genuine files of makers of our own, and readers that say what they made of any bytes."""

    def __init__(self) -> None:
        self._manifests, self._intel, self._nvidia = FakeManifests(), FakeIntel(), FakeNvidia()
        device = self._nvidia
        path = (device.leaf, device.device, device.provisioner, device.model, device.root)
        self._anchors = Anchors(
            Roots({}, self._intel.roots, nvidia=device.roots, manifests=frozenset({self._manifests.root.pin})),
            paths=[[one.certificate for one in path]],
        )
        form = dcap_form(self._intel.collateral(), self._intel.ca.pem + self._intel.root.pem)
        self.manifest = self._manifests.driver()
        self.files = (
            self.manifest, json.dumps(form).encode(), revocations(device.root),
            ocsp_answer(device.device, device.provisioner), b"".join(one.pem for one in path),
        )  # fmt: skip

    def golden(self, raw: bytes) -> object:
        """What was signed, or nothing: a changed document that says something else is a hole."""
        found = parse_reference_manifest(raw)
        return found.version, found.product, tuple(sorted(found.golden)), frozenset().union(*found.golden.values())

    def taken_in(self, raw: bytes) -> object:
        """What a file is for, when it may be put in place."""
        try:
            found: Candidate = candidate(f"{DRIVER}.xml", raw, self._anchors, NOW)
        except Malformed as error:
            raise refuse(Refusal.MALFORMED, error.detail) from error
        return found.name, found.what, found.dated


@functools.cache
def trust_files() -> tuple[tuple[Read, bytes], ...]:
    """Each reader of a trust file with one that it reads."""

    def seed(name: str, **members: Any) -> bytes:
        head = {"schema": f"demesne.trust.{name}/1", "issued": instant(NOW), "expires": "2026-09-01T00:00:00Z"}
        return json.dumps(head | members).encode()

    entry = {"kind": "ear", "iss": "v", "algorithms": ["RS256"], "jwks": jwks(FakeIssuer()),
             "policy": {"submodules": ["cpu0"], "profiles": []}}  # fmt: skip
    reference = {"name": "a", "kind": "tdx", "measurement": ["11"], "match": {"platform.rtmr1": ["22", 1, True]}}
    return (
        (parse_platforms, seed("platforms", **PLATFORMS)),
        (parse_references, seed("reference-values", references=[reference])),
        (parse_issuers, seed("issuers", issuers=[entry])),
        (parse_endorsers, seed("endorsers", endorsers=[{"issuer": DID, "feed": "uvm", "min_svn": 1}])),
        (parse_tpm_keys, seed("tpm-keys", keys=[{"name": "ab" * 32, "pcrs": {"7": ["07" * 32]}}])),
    )


def any_trust_file(raw: bytes) -> object:
    """By every reader; what it refuses it refuses with the field and the fix."""
    for parse, _ in trust_files():
        try:
            parse(raw)
        except Malformed as error:
            if error.reason != "trust.field" or not error.detail:
                raise
    return None
