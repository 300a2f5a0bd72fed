"""What goes in and out of the broker for clients of the key-broker protocol."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from vault.broker.types import Attested, Challenge


@dataclass(frozen=True, slots=True)
class KbsEvidence:
    """One handshake's evidence as it was sent. `nonce` in hex; `primary` is JSON text; `additional` "" for none."""

    nonce: str
    tee: str
    primary: str
    additional: str
    tee_pubkey: Mapping[str, Any]
    init_data: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class KbsAttested:
    """A verified handshake. `attested` has seals, and with them a session, only where the nonce's row named a
    principal; `statement` and `seal` are what a token is made of, for a minute."""

    attested: Attested
    statement: bytes
    seal: bytes


class KbsBroker(Protocol):
    """Refusals as those of `KeyBroker`."""

    def kbs_challenge(self, principal_id: str, purpose: str, scope: list[str], gateway: str) -> Challenge:
        """A nonce for this protocol. All of the first three, or none: then no session can come of it."""
        ...

    def kbs_attest(self, evidence: KbsEvidence, principal_id: str, source: str) -> KbsAttested: ...

    def kbs_token(self, statement: bytes, seal: bytes, appraisal: dict[str, Any], token_id: str) -> str:
        """The token of what was verified, appraised so. `Refused` for another's or an old statement."""
        ...

    def kbs_key(self) -> dict[str, str]:
        """The public key of tokens, a JWK."""
        ...
