"""Epoch keys in AWS KMS: one customer managed key for each epoch, found by its alias, bound by encryption context.

    alias/<names>     the alias; the key itself is described, tagged and single-region

The first answer about an alias fixes the key it means for as long as this process runs, every later request names that
key by ARN, and every answer must carry the same ARN: an alias that is moved opens nothing. KMS destroys only after 7 to
30 days, and forgets afterwards: `unknown` is then all it says. docs/spec/keys.md §3.3.
"""

import base64
import re
from collections import OrderedDict
from datetime import datetime
from threading import Lock
from typing import Any, NoReturn, Protocol

from botocore.exceptions import ClientError

from vault.errors import Conflict, NotFound, Refused, Unavailable
from vault.keys.aws_kms_client import raise_unavailable
from vault.keys.names import EpochNames
from vault.keys.provider import (
    MIN_PENDING_DAYS,
    Destruction,
    EpochState,
    EpochStatus,
    KeyClass,
    ProviderLocation,
    pending_until,
    refuse_unless_active,
)
from vault.keys.secrets import KEY_BYTES, SecretBytes

_ARN = re.compile(r"arn:aws(?:-[a-z]+)*:kms:([a-z0-9-]+):\d{12}:key/[A-Za-z0-9-]+")
_STATES = {"Enabled": EpochState.ACTIVE, "Disabled": EpochState.DISABLED, "PendingDeletion": EpochState.PENDING}
_REMEMBERED = 4096
_MAX_CIPHERTEXT = 900  # KMS: below 300 for 32 bytes; what is longer is not its answer
_PLACE = "secret-root"  # the epoch every zone has, asked for by those who only want to know where the keys are


class KmsCaller(Protocol):
    """`vault.keys.aws_kms_client.KmsClient`: one request, no retry, no redirect, 250 ms."""

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]: ...


class KmsProvider:
    """Epoch keys of one class, under one access key. IAM and the keys' own policies decide what it may do."""

    def __init__(self, caller: KmsCaller, names: EpochNames, *, region: str, strength: str) -> None:
        self._caller = caller
        self._names = names
        self._region = region
        self._strength = strength
        self._arns: OrderedDict[str, str] = OrderedDict()
        self._lock = Lock()

    def create_epoch(self, epoch_id: str, key_class: KeyClass) -> None:
        name = self._names.new(epoch_id, key_class)
        if self.status(epoch_id).state is not EpochState.UNKNOWN:
            raise Refused("key.exists", epoch_id)
        tags = {"demesne:class": key_class.value, "demesne:zone": self._names.zone, "demesne:epoch": epoch_id}
        made = self._ask(epoch_id, "create_key", Description=name, KeySpec="SYMMETRIC_DEFAULT",
                         KeyUsage="ENCRYPT_DECRYPT", MultiRegion=False,
                         Tags=[{"TagKey": key, "TagValue": value} for key, value in tags.items()])  # fmt: skip
        arn = self._arn_of(made)
        try:
            self._caller.call("create_alias", AliasName=f"alias/{name}", TargetKeyId=arn)
        except ClientError as error:
            self._ask(
                epoch_id, "schedule_key_deletion", KeyId=arn.rpartition("/")[2], PendingWindowInDays=MIN_PENDING_DAYS
            )
            if _code(error) == "AlreadyExistsException":
                raise Refused("key.exists", epoch_id) from error
            self._raise(error, epoch_id)
        self._remember(epoch_id, arn)

    def wrap(self, epoch_id: str, plaintext: bytes, context: bytes) -> bytes:
        arn = self._arn(epoch_id)
        answer = self._ask(
            epoch_id, "encrypt", KeyId=arn, Plaintext=plaintext, EncryptionContext=self._context(epoch_id, context)
        )
        blob = answer.get("CiphertextBlob")
        if not isinstance(blob, bytes) or not 0 < len(blob) <= _MAX_CIPHERTEXT or answer.get("KeyId") != arn:
            raise Unavailable("provider.answer", "no ciphertext of this key")
        return blob

    def unwrap(self, epoch_id: str, wrapped: bytes, context: bytes) -> bytes:
        arn = self._arn(epoch_id)
        if not 0 < len(wrapped) <= _MAX_CIPHERTEXT:
            raise Refused("key.context", epoch_id)
        answer = self._ask(
            epoch_id, "decrypt", KeyId=arn, CiphertextBlob=wrapped, EncryptionAlgorithm="SYMMETRIC_DEFAULT",
            EncryptionContext=self._context(epoch_id, context),
        )  # fmt: skip
        opened = answer.get("Plaintext")
        if not isinstance(opened, bytes) or len(opened) != KEY_BYTES or answer.get("KeyId") != arn:
            raise Unavailable("provider.answer", "no key of 32 bytes, or under another key than was named")
        return SecretBytes(opened)

    def disable(self, epoch_id: str) -> None:
        if self._known(epoch_id).state is EpochState.PENDING:
            raise Refused("key.pending", epoch_id)
        self._ask(epoch_id, "disable_key", KeyId=self._key_id(epoch_id))

    def enable(self, epoch_id: str) -> None:
        if self._known(epoch_id).state is EpochState.PENDING:
            raise Refused("key.pending", epoch_id)
        self._ask(epoch_id, "enable_key", KeyId=self._key_id(epoch_id))

    def schedule_destruction(self, epoch_id: str, days: int, now_ms: int) -> Destruction:
        pending_until(days, now_ms)  # the range only: the date is KMS's own
        return self._schedule(epoch_id, days)

    def cancel_destruction(self, epoch_id: str) -> None:
        state = self._known(epoch_id).state
        if state is EpochState.ACTIVE:
            raise Conflict("key.not-pending", epoch_id)
        if state is EpochState.PENDING:
            self._ask(epoch_id, "cancel_key_deletion", KeyId=self._key_id(epoch_id))

    def destroy(self, epoch_id: str) -> Destruction:
        return self._schedule(epoch_id, MIN_PENDING_DAYS)

    def status(self, epoch_id: str) -> EpochStatus:
        try:
            found = self._ask(epoch_id, "describe_key", KeyId=f"alias/{self._names.of(epoch_id)}")
        except Refused as error:
            # Also what this process knew itself until now: that it is gone for good only the caller's row can say.
            if error.reason not in {"key.unknown", "key.destroyed"}:
                raise
            return EpochStatus(EpochState.UNKNOWN)
        self._remember(epoch_id, self._arn_of(found))
        metadata = found["KeyMetadata"]
        state = _STATES.get(str(metadata.get("KeyState")))
        if state is None:  # PendingImport, Unavailable, Creating, Updating: none that we make
            raise Unavailable("provider.state", str(metadata.get("KeyState")))
        if state is not EpochState.PENDING:
            return EpochStatus(state)
        return EpochStatus(state, _ms(metadata.get("DeletionDate")))

    def location(self) -> ProviderLocation:
        """The region in the ARN of the zone's own key. Without one yet: of the endpoint that took a signature which
        names this region, for KMS takes no other."""
        if not self._arns:
            self.status(_PLACE)
        return ProviderLocation(self._region, self._strength, f"awskms:{self._region}")

    def _schedule(self, epoch_id: str, days: int) -> Destruction:
        status = self._known(epoch_id)
        if status.state is EpochState.PENDING:
            return Destruction("pending", status.until_ms)
        answer = self._ask(epoch_id, "schedule_key_deletion", KeyId=self._key_id(epoch_id), PendingWindowInDays=days)
        return Destruction("pending", _ms(answer.get("DeletionDate")))

    def _known(self, epoch_id: str) -> EpochStatus:
        status = self.status(epoch_id)
        if status.state is EpochState.UNKNOWN:
            raise NotFound("key.unknown", epoch_id)
        return status

    def _context(self, epoch_id: str, context: bytes) -> dict[str, str]:
        """Class and epoch stand in clear for key policies and CloudTrail; the context holds no names of people."""
        return {
            "demesne:class": self._names.key_class.value,
            "demesne:epoch": epoch_id,
            "demesne:context": base64.b64encode(context).decode("ascii"),
        }

    def _arn(self, epoch_id: str) -> str:
        with self._lock:
            known = self._arns.get(epoch_id)
        if known is not None:
            return known
        self._known(epoch_id)
        with self._lock:
            return self._arns[epoch_id]

    def _key_id(self, epoch_id: str) -> str:
        """What manages a key names it without its account: none but its own may."""
        return self._arn(epoch_id).rpartition("/")[2]

    def _remember(self, epoch_id: str, arn: str) -> None:
        with self._lock:
            if self._arns.setdefault(epoch_id, arn) != arn:
                raise Unavailable("provider.answer", f"{epoch_id}: its alias was moved to another key")
            while len(self._arns) > _REMEMBERED:
                self._arns.popitem(last=False)

    def _arn_of(self, answer: dict[str, Any]) -> str:
        given = answer.get("KeyMetadata")
        metadata: dict[str, Any] = given if isinstance(given, dict) else {}
        arn = str(metadata.get("Arn"))
        found = _ARN.fullmatch(arn)
        if found is None:
            raise Unavailable("provider.answer", "no key ARN")
        if found[1] != self._region or metadata.get("MultiRegion"):
            raise Unavailable("provider.region", f"the key lies in {found[1]}, or in several regions")
        return arn

    def _ask(self, epoch_id: str, operation: str, **arguments: Any) -> dict[str, Any]:
        try:
            return self._caller.call(operation, **arguments)
        except ClientError as error:
            self._raise(error, epoch_id)

    def _raise(self, error: ClientError, epoch_id: str) -> NoReturn:
        code = _code(error)
        if code == "AccessDeniedException":
            raise Refused("key.class", f"{epoch_id}: the provider denies it to this credential") from error
        if code == "DisabledException":
            raise Refused("key.disabled", epoch_id) from error
        if code in {"InvalidCiphertextException", "IncorrectKeyException"}:
            raise Refused("key.context", epoch_id) from error
        if code == "NotFoundException":
            with self._lock:
                was_there = self._arns.pop(epoch_id, None) is not None
            if was_there:
                raise Refused("key.destroyed", epoch_id) from error
            raise NotFound("key.unknown", epoch_id) from error
        if code == "KMSInvalidStateException":
            refuse_unless_active(self.status(epoch_id).state, epoch_id)
            raise Unavailable("provider.state", epoch_id) from error
        raise_unavailable(error)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "")).rpartition("#")[2]


def _ms(date: object) -> int:
    if not isinstance(date, datetime):
        raise Unavailable("provider.answer", "no date of deletion")
    return int(date.timestamp() * 1000)
