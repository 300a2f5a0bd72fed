"""Request bodies of the API: closed models, so that a misspelt field is an error and not a silent default."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

_NAME = r"^[a-z][a-z0-9-]{0,62}$"
ScopeName = Annotated[str, Field(max_length=63)]
"""A dataset's, whether there is one or not: scopes are kept in rows and in ledger entries."""


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewDataset(Body):
    name: str = Field(min_length=3, max_length=63)
    zone: str | None = Field(None, description="another zone's name makes a pointer to it")
    synthetic: bool = False
    label: Literal["personal", "none"] = "personal"


class NewContract(Body):
    document: dict[str, Any]


class NewChallenge(Body):
    purpose: str = Field(pattern=_NAME)
    scope: list[ScopeName] = Field(max_length=64)


class DeviceEvidence(Body):
    """What a device in the machine said; the machine's own evidence commits to the list of these."""

    kind: str = Field(pattern=_NAME)
    evidence: dict[str, Any]


class NewSession(Body):
    nonce: str = Field(pattern=r"^[0-9a-f]{64}$")
    kind: str = Field(pattern=_NAME)
    evidence: dict[str, Any]
    additional: list[DeviceEvidence] = Field(default_factory=list, max_length=16)
    key: dict[str, Any]
    purpose: str = Field(pattern=_NAME)
    scope: list[ScopeName] = Field(max_length=64)
    run: str | None = Field(None, max_length=200)
    bind: Literal["source", "certificate"] = Field(
        "source", description="what the credentials count on: this address, or a connection with the key's certificate"
    )


class Attestation(Body):
    nonce: str = Field(pattern=r"^[0-9a-f]{64}$")
    kind: str = Field(pattern=_NAME)
    evidence: dict[str, Any]
    additional: list[DeviceEvidence] = Field(default_factory=list, max_length=16)
    key: dict[str, Any]


class NewRevocation(Body):
    """`value`: a principal's id or name, or a platform's or measurement's value as a session's claims name it."""

    what: Literal["subject", "platform", "measurement"]
    value: str = Field(min_length=1, max_length=512)
    reason: str = Field(min_length=1, max_length=500)


class Declassification(Body):
    dataset: str
    key: str
    name: str = Field(max_length=200)
    reason: str = Field(max_length=1000)


class NewKeyOrder(Body):
    """`versions`, `keys` and `prefix` name what a shredding erases; the other actions take a class, or epochs."""

    dataset: str = Field(min_length=3, max_length=63)
    action: Literal["rotate", "rewrap", "disable", "enable", "destroy", "shred"]
    key_class: Literal["raw", "view"] | None = None
    epochs: list[str] = Field(default_factory=list, max_length=64)
    versions: list[str] = Field(default_factory=list, max_length=1000)
    keys: list[str] = Field(default_factory=list, max_length=1000)
    prefix: str | None = Field(None, max_length=1024)
    reason: str = Field(min_length=1, max_length=500)


class KeyApproval(Body):
    """The hash of the order as the approver read it: an order that was changed since has another one."""

    request_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
