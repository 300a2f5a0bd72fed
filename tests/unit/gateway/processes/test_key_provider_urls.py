"""DEMESNE_KEY_PROVIDER: what it may say, and what is refused before any connection is made."""

from pathlib import Path

import pytest

from gateway.processes.providers import initialise_providers, open_providers
from gateway.settings import Settings
from tests.fakes.openbao import POLICY
from vault.errors import Refused, Unavailable, VaultError
from vault.keys.names import EpochNames
from vault.keys.provider import KeyClass

ROOT = Path(__file__).parents[4]


def settings(tmp_path: Path, provider: str, **more: object) -> Settings:
    given: dict[str, object] = {
        "zone": "de", "jurisdiction": "de", "state_dir": tmp_path, "key_provider": provider,
        "key_credential_raw": tmp_path / "raw", "key_credential_view": tmp_path / "view", **more,
    }  # fmt: skip
    return Settings(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "provider",
    [
        "vault+https://bao.example:8200/transit?location=de",
        "vault+https://bao.example/a/b?prefix=x1&namespace=team",
        "vault+http://127.0.0.1:8200/transit",
        "awskms://eu-central-1",
        "awskms://eu-central-1?endpoint=https://kms.example&prefix=other",
        "awskms://us-gov-west-1",
        "pkcs11:/usr/lib/softhsm/libsofthsm2.so?token=demesne&location=de",
    ],
)
def test_what_may_be_said_makes_two_connections_and_no_request(tmp_path: Path, provider: str) -> None:
    assert set(open_providers(settings(tmp_path, provider))) == set(KeyClass)


@pytest.mark.parametrize(
    "provider",
    [
        "https://bao.example:8200/transit", "vault://bao.example", "local:", "file:///keys", "x",
        "vault+http://bao.example:8200/transit", "vault+http://10.0.0.1:8200/transit", "vault+https://",
        "vault+https://user:pass@bao.example/transit", "vault+https://bao.example/transit#x",
        "vault+https://bao.example/../sys", "vault+https://bao.example/tran%20sit", "vault+https://0x7f.1/transit",
        "vault+https://bao.example/transit?token=abc", "vault+https://bao.example/transit?prefix=A_b",
        "awskms://", "awskms://eu", "awskms://EU-central-1", "awskms://eu-central-1/x", "awskms://eu-central-1?location=de",
        "awskms://eu-central-1?endpoint=http://kms.example", "awskms://eu-central-1@evil.example",
        "pkcs11:module.so?token=t", "pkcs11://host/module.so?token=t", "pkcs11:/module.so", "pkcs11:/module.so?token=",
        "pkcs11:/module.so?token=t&pin=1234", "pkcs11:/module.so?token=../t",
    ],
)  # fmt: skip
def test_what_may_not_be_said_is_refused_by_name(tmp_path: Path, provider: str) -> None:
    with pytest.raises(Refused) as caught:
        open_providers(settings(tmp_path, provider))
    assert caught.value.reason in {"provider.url", "endpoint.url"}
    assert caught.value.detail


@pytest.mark.parametrize("more", [{"key_credential_raw": None}, {"key_credential_view": None}])
def test_each_class_needs_a_file_of_its_own(tmp_path: Path, more: dict[str, object]) -> None:
    with pytest.raises(Refused, match=r"provider\.credential"):
        open_providers(settings(tmp_path, "awskms://eu-central-1", **more))
    same = {"key_credential_raw": tmp_path / "one", "key_credential_view": tmp_path / "one"}
    with pytest.raises(Refused, match="two different files"):
        open_providers(settings(tmp_path, "vault+https://bao.example/transit", **same))


def test_credential_is_read_when_it_is_used_and_named_when_it_is_not_there(tmp_path: Path) -> None:
    for provider in ("vault+https://127.0.0.1:9/transit", "awskms://eu-central-1?endpoint=http://127.0.0.1:9"):
        for connection in open_providers(settings(tmp_path, provider)).values():
            with pytest.raises(Unavailable, match=r"provider\.credential"):
                connection.status("e1")


def test_empty_is_local_files(tmp_path: Path) -> None:
    local = settings(tmp_path, "", key_credential_raw=None, key_credential_view=None)
    with pytest.raises(VaultError):
        open_providers(local)
    initialise_providers(local)
    initialise_providers(local)
    providers = open_providers(local)
    providers[KeyClass.RAW].create_epoch("e1", KeyClass.RAW)
    assert (local.zone_dir / "keys" / "epochs" / "e1.key").exists()


def test_place_without_a_word_is_no_place(tmp_path: Path) -> None:
    """Nobody vouched: the residency check must see that, whatever answers."""
    made = open_providers(settings(tmp_path, "vault+https://bao.example/transit"))
    where = made[KeyClass.RAW]._provider._location  # type: ignore[attr-defined]
    assert (where.observed, where.strength) == ("", "none")
    vouched = settings(tmp_path, "vault+https://bao.example/transit?location=de")
    assert open_providers(vouched)[KeyClass.RAW]._provider._location.strength == "self-reported"  # type: ignore[attr-defined]
    pinned = settings(
        tmp_path, "vault+https://bao.example/transit?location=de", key_provider_ca=ROOT / "pyproject.toml"
    )
    assert open_providers(pinned)[KeyClass.RAW]._provider._location.strength == "network"  # type: ignore[attr-defined]


def test_names_of_two_zones_and_classes_never_meet() -> None:
    seen = {
        EpochNames(key_class, zone).of(epoch)
        for key_class in KeyClass
        for zone in ("a", "a-b", "a-secret")
        for epoch in ("root", "secret-root", "b-root", "b-secret-root")
    }
    assert len(seen) == 2 * 3 * 4
    for name in seen:
        assert name.startswith(("demesne-raw-", "demesne-view-"))


def test_policy_that_the_page_says_to_paste_is_the_one_that_tests_run() -> None:
    page = (ROOT / "docs" / "spec" / "keys.md").read_text()
    assert POLICY.format(prefix="demesne", key_class="raw").strip() in page
