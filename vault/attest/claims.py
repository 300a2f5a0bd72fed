"""Verified statements about a platform, and every way in which evidence can fail to become them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from vault.errors import Refused


class Refusal(StrEnum):
    """Why evidence was refused. Stable names; each verifier uses these and no others."""

    MALFORMED = "attest.malformed"
    UNKNOWN_KIND = "attest.unknown-kind"
    UNKNOWN_VERSION = "attest.unknown-version"
    NONCE = "attest.nonce"
    PRINCIPAL = "attest.principal"
    BINDING = "attest.binding"
    SIGNATURE = "attest.signature"
    EXPIRED = "attest.expired"
    KEY = "attest.key"
    POSTURE = "attest.posture"
    NO_TRUST = "attest.no-trust"
    SESSION = "attest.session"
    WEAKER = "attest.weaker"
    # What hardware evidence can be refused for besides; docs/spec/attestation.md says which check gives which.
    CHAIN = "attest.chain"
    ALGORITHM = "attest.algorithm"
    DEBUG = "attest.debug"
    VMPL = "attest.vmpl"
    POLICY = "attest.policy"
    TCB = "attest.tcb"
    PLATFORM = "attest.platform"
    MEASUREMENT = "attest.measurement"
    HOST_DATA = "attest.host-data"
    REVOKED = "attest.revoked"
    COLLATERAL = "attest.collateral"
    FMSPC = "attest.fmspc"
    QE_IDENTITY = "attest.qe-identity"
    MODULE = "attest.module"
    EVENT_LOG = "attest.event-log"
    ENDORSEMENT = "attest.endorsement"


def refuse(why: Refusal, detail: str = "") -> Refused:
    """The one exception of this package: `raise refuse(Refusal.BINDING)`."""
    return Refused(why.value, detail)


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verifier proved. Never raw evidence, never anything the evidence only asserted.

    `hardware` is True only when a hardware root signed; `synthetic_only` is True when these claims may open
    raw data of datasets flagged synthetic and no other; `debug` is True when the platform admits inspection.
    `platform` holds what hardware evidence proves besides (versions, chip, bound or not), by kind: strings, integers,
    booleans and lists of these, as docs/spec/attestation.md lists them.
    """

    kind: str
    tee: str
    measurement: str
    debug: bool
    hardware: bool
    synthetic_only: bool
    platform: Mapping[str, Any] = field(default_factory=dict)

    def as_document(self) -> dict[str, Any]:
        """The form that session rows, seals and the doctrine's appraisal see."""
        document: dict[str, Any] = {
            "kind": self.kind,
            "tee": self.tee,
            "measurement": self.measurement,
            "debug": self.debug,
            "hardware": self.hardware,
            "synthetic_only": self.synthetic_only,
        }
        if self.platform:
            document["platform"] = dict(self.platform)
        return document
