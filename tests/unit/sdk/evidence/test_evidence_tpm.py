"""Quotes of a real TPM 2.0 (swtpm) by raw commands, and what the gateway's verifier says to them."""

import json
import os
import threading
import tty
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from demesne.errors import Invalid, Malformed, NotConfigured, Unavailable
from demesne.evidence.tpm import KEY_HANDLE, TpmAttester
from demesne.evidence.tpm_commands import ECC, ENDORSEMENT, OWNER, RSA, Tpm, TpmError
from demesne.evidence.tpm_device import DeviceTransport, SocketTransport, opened
from demesne.evidence.tpm_public import attestation_template, endorsement_template, subject_public_key
from tests.fakes.attest_pki import NOW_MS
from tests.fakes.swtpm import Swtpm, extend, extend_command, need_swtpm
from vault.attest.binding import ExpectedBinding
from vault.attest.claims import Claims
from vault.attest.tpm.quote import load_key
from vault.attest.tpm.verify import TpmPolicy, TpmVerifier, key_name
from vault.errors import Refused

pytestmark = pytest.mark.servers
EXPECTED = ExpectedBinding("ab" * 32, "gateway", "thumbprint", "train", ("claims",))
BOUND = EXPECTED.report_data()


@pytest.fixture(scope="module")
def machine() -> Iterator[Swtpm]:
    need_swtpm()
    with Swtpm() as swtpm:
        yield swtpm


def with_key(machine: Swtpm, algorithm: int, handle: int) -> str:
    """A restricted key at `handle`; its name as the gateway has it."""
    with Tpm(machine.transport()) as tpm:
        made = tpm.create_primary(OWNER, attestation_template(algorithm))
        tpm.persist(made, handle)
        tpm.flush(made)
        return key_name(load_key(subject_public_key(tpm.read_public(handle))))


@pytest.fixture(scope="module", params=[RSA, ECC], ids=["rsa", "ecc"])
def keyed(machine: Swtpm, request: pytest.FixtureRequest) -> tuple[Swtpm, int, str]:
    handle = KEY_HANDLE + 16 + request.param
    return machine, handle, with_key(machine, request.param, handle)


def verified(
    evidence: dict[str, Any], name: str, policy: TpmPolicy | None = None, expected: ExpectedBinding = EXPECTED
) -> Claims:
    return TpmVerifier({name}, policy or TpmPolicy()).verify(json.loads(json.dumps(evidence)), expected, NOW_MS)


def test_a_quote_verifies_at_the_gateway(keyed: tuple[Swtpm, int, str]) -> None:
    machine, handle, name = keyed
    evidence = TpmAttester(key_handle=handle, pcrs=range(24), transport=machine.transport).evidence(BOUND)
    claims = verified(evidence, name)
    assert (claims.kind, claims.hardware, claims.platform["bound"]) == ("tpm", False, True)
    assert claims.platform["key"] == name
    assert len(evidence["pcrs"]) == 24
    with pytest.raises(Refused, match=r"attest\.binding"):
        verified(evidence, name, expected=ExpectedBinding("cd" * 32, "gateway", "thumbprint", "train", ("claims",)))


def test_another_boot_is_refused_by_policy(keyed: tuple[Swtpm, int, str]) -> None:
    machine, handle, name = keyed
    attester = TpmAttester(key_handle=handle, pcrs=[7, 16], transport=machine.transport)
    before = attester.evidence(BOUND)
    policy = TpmPolicy(pcrs={16: {bytes.fromhex(before["pcrs"]["16"])}})
    verified(before, name, policy)
    extend(machine, 16, b"\x01" * 32)
    after = attester.evidence(BOUND)
    assert verified(after, name).platform["bound"] is True
    with pytest.raises(Refused, match=r"attest\.measurement"):
        verified(after, name, policy)


def test_clocks_go_on_and_an_older_boot_is_refused(keyed: tuple[Swtpm, int, str]) -> None:
    machine, handle, name = keyed
    attester = TpmAttester(key_handle=handle, transport=machine.transport)
    old = attester.evidence(BOUND)
    machine.stop()
    machine.start()
    said = verified(attester.evidence(BOUND), name).platform
    before = verified(old, name).platform
    assert said["reset_count"] > before["reset_count"]
    seen = (said["reset_count"], said["restart_count"], said["clock"])
    with pytest.raises(Refused, match=r"attest\.platform"):
        verified(old, name, TpmPolicy(boots={name: seen}))


def test_a_pcr_that_changes_between_quote_and_reading_makes_another_try(keyed: tuple[Swtpm, int, str]) -> None:
    machine, handle, name = keyed
    quotes = []

    class Meanwhile(SocketTransport):
        """Somebody extends PCR 16 as soon as the first quote is made."""

        def exchange(self, command: bytes) -> bytes:
            response = super().exchange(command)
            if command[6:10] == b"\x00\x00\x01\x58":
                quotes.append(1)
                if len(quotes) == 1:
                    super().exchange(extend_command(16, b"\x02" * 32))
            return response

    evidence = TpmAttester(key_handle=handle, pcrs=[16], transport=lambda: Meanwhile(machine.path / "s")).evidence(
        BOUND
    )
    verified(evidence, name)
    assert len(quotes) == 2


def test_the_kernels_device_is_spoken_to_by_one_write_and_one_read(keyed: tuple[Swtpm, int, str]) -> None:
    """A character device (a terminal in raw mode stands for it) with the TPM behind it."""
    machine, handle, name = keyed
    ours, device = os.openpty()
    tty.setraw(device)
    behind = machine.transport()

    def kernel() -> None:
        with suppress(OSError):
            while command := os.read(ours, 4096):
                os.write(ours, behind.exchange(command))

    thread = threading.Thread(target=kernel, daemon=True)
    thread.start()
    path = Path(os.ttyname(device))
    evidence = TpmAttester(key_handle=handle, pcrs=[0, 7], transport=lambda: opened(path)).evidence(BOUND)
    assert verified(evidence, name).platform["bound"] is True
    os.close(device)
    thread.join(10)
    os.close(ours)
    behind.close()


def test_no_key_says_how_to_make_one(machine: Swtpm) -> None:
    need_swtpm()
    with pytest.raises(NotConfigured, match="enrol-tpm"):
        TpmAttester(key_handle=0x8101FFF0, transport=machine.transport).evidence(BOUND)


def test_a_storage_key_makes_no_evidence(machine: Swtpm) -> None:
    with Tpm(machine.transport()) as tpm:
        handle = tpm.create_primary(ENDORSEMENT, endorsement_template(RSA))
        try:
            with pytest.raises(TpmError):
                tpm.quote(handle, b"n" * 32, [0])
            with pytest.raises(Malformed, match="scheme"):
                subject_public_key(tpm.read_public(handle))
        finally:
            tpm.flush(handle)


class Scripted:
    """A TPM that answers what it is told to."""

    def __init__(self, *responses: bytes) -> None:
        self._responses = list(responses)
        self.asked = 0

    def exchange(self, command: bytes) -> bytes:
        del command
        self.asked += 1
        return self._responses.pop(0) if len(self._responses) > 1 else self._responses[0]

    def close(self) -> None:
        pass


def answered(rc: int, body: bytes = b"") -> bytes:
    return b"\x80\x01" + (10 + len(body)).to_bytes(4, "big") + rc.to_bytes(4, "big") + body


def test_a_busy_tpm_is_asked_again_and_then_given_up() -> None:
    waits: list[float] = []
    busy = Scripted(answered(0x922))
    with pytest.raises(Unavailable, match="busy"):
        Tpm(busy, sleep=waits.append).read_public(KEY_HANDLE)
    assert (busy.asked, waits[0] < waits[-1]) == (8, True)
    recovering = Scripted(answered(0x922), answered(0x908), answered(0, b"\x00\x02ok" + bytes(4)))
    assert Tpm(recovering, sleep=waits.append).read_public(KEY_HANDLE) == b"ok"


@pytest.mark.parametrize("response", [b"", b"\x80\x01", answered(0)[:-1], answered(0, b"\x00\x20short"), answered(0)])
def test_a_response_cut_short_is_malformed(response: bytes) -> None:
    with pytest.raises(Malformed, match="cut short"):
        Tpm(Scripted(response)).read_public(KEY_HANDLE)


def test_a_locked_tpm_says_what_to_do() -> None:
    with pytest.raises(Unavailable, match="lockout"):
        Tpm(Scripted(answered(0x921))).read_public(KEY_HANDLE)


def test_no_device_is_no_tpm(tmp_path: Any) -> None:
    with pytest.raises(NotConfigured, match="tpmrm0"):
        DeviceTransport(tmp_path / "tpmrm0")


@pytest.mark.parametrize("pcrs", [[], [24], [-1]])
def test_pcrs_that_there_are_not(pcrs: list[int]) -> None:
    with pytest.raises(Invalid, match="PCRs"):
        TpmAttester(pcrs=pcrs)
