"""What `demesne serve` refuses before it starts anything, and how it starts again what dies."""

import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from gateway.cli.serve import is_loopback, unfit
from gateway.cli.supervisor import LONGEST_BACK_OFF, SETTLED_SECONDS, Child, KeptRunning, seen_by
from gateway.settings import Settings


def settings(tmp_path: Path, **given: object) -> Settings:
    values = {"zone": "de", "jurisdiction": "de", "state_dir": tmp_path, **given}
    return Settings(**values)  # type: ignore[arg-type]


def certificate(directory: Path) -> tuple[Path, Path]:
    """(chain, key), of an authority of their own."""
    directory.mkdir()
    leaf = trustme.CA().issue_cert("localhost")
    leaf.cert_chain_pems[0].write_to_path(str(directory / "cert.pem"))
    leaf.private_key_pem.write_to_path(str(directory / "key.pem"))
    return directory / "cert.pem", directory / "key.pem"


def test_a_zone_on_loopback_needs_no_more_than_its_name(tmp_path: Path) -> None:
    assert unfit(settings(tmp_path)) == []


@pytest.mark.parametrize(("given", "named"), [
    ({"posture": "development"}, ["DEMESNE_POSTURE"]),
    ({"created_buckets": "open"}, ["DEMESNE_CREATED_BUCKETS"]),
    ({"s3_host": "0.0.0.0"}, ["DEMESNE_S3_HOST"]),
    ({"api_host": "::"}, ["DEMESNE_API_HOST"]),
    ({"s3_host": "192.0.2.1", "api_host": "gateway.example.org"}, ["DEMESNE_S3_HOST", "DEMESNE_API_HOST"]),
    ({"tls_cert": Path("/nowhere.pem"), "tls_key": Path("/nowhere.key")}, ["DEMESNE_TLS_CERT", "DEMESNE_TLS_KEY"]),
    ({"ledger_url": "postgresql://db/ledger"}, ["DEMESNE_LEDGER_URL"]),
])  # fmt: skip
def test_each_refusal_names_the_setting_and_the_way_out(
    given: dict[str, object], named: list[str], tmp_path: Path
) -> None:
    found = unfit(settings(tmp_path, **given))
    assert [sentence.split("=")[0].split(" ")[0] for sentence in found] == named
    assert all(": " in sentence for sentence in found)


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    assert len(unfit(settings(tmp_path, posture="development", created_buckets="open", s3_host="0.0.0.0"))) == 3


def test_tls_opens_the_way_beyond_loopback(tmp_path: Path) -> None:
    chain, key = certificate(tmp_path / "one")
    assert unfit(settings(tmp_path, s3_host="0.0.0.0", api_host="0.0.0.0", tls_cert=chain, tls_key=key)) == []


def test_a_chain_that_would_not_be_served_is_told_before_anything_starts(tmp_path: Path) -> None:
    """Every worker would end at once, and be started again for ever."""
    chain, key = certificate(tmp_path / "one")
    _, other = certificate(tmp_path / "two")
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for given in ((chain, other), (chain, empty), (empty, key)):
        (found,) = unfit(settings(tmp_path, tls_cert=given[0], tls_key=given[1]))
        assert "DEMESNE_TLS_CERT" in found
        assert "DEMESNE_TLS_KEY" in found


@pytest.mark.parametrize(("host", "expected"), [
    ("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
    ("10.0.0.1", False), ("localhost.example.org", False), ("", False), ("::ffff:192.0.2.1", False),
])  # fmt: skip
def test_what_is_loopback(host: str, *, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_the_command_ends_with_two_and_a_sentence(tmp_path: Path) -> None:
    environment = {
        "DEMESNE_ZONE": "de", "DEMESNE_JURISDICTION": "de", "DEMESNE_STATE_DIR": str(tmp_path / "state"),
        "DEMESNE_POSTURE": "development", "PATH": "/usr/bin",
    }  # fmt: skip
    done = subprocess.run(
        [str(Path(sys.executable).with_name("demesne")), "serve"], env=environment, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "DEMESNE_POSTURE=development admits sample evidence" in done.stderr
    assert not (tmp_path / "state").exists()


def test_no_role_is_given_what_is_not_its_own() -> None:
    names = (
        "DEMESNE_ZONE", "DEMESNE_KEY_PROVIDER", "DEMESNE_KEY_CREDENTIAL_RAW", "DEMESNE_LEDGER_URL",
        "AWS_SECRET_ACCESS_KEY", "VAULT_TOKEN", "PATH",
    )  # fmt: skip
    env = dict.fromkeys(names, "x")
    assert set(seen_by("front", env)) == {"DEMESNE_ZONE", "PATH"}
    assert set(seen_by("builder", env)) == {"DEMESNE_ZONE", "PATH"}
    assert set(seen_by("jobs", env)) == {
        "DEMESNE_ZONE", "PATH", "DEMESNE_LEDGER_URL", "DEMESNE_KEY_PROVIDER",
    }  # fmt: skip
    assert set(seen_by("broker", env)) == set(env) - {"DEMESNE_LEDGER_URL"}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Process(Child):
    """A child that runs as long as the test says."""

    alive = True
    starts = 0

    @property
    def running(self) -> bool:
        return self.alive

    def start(self) -> None:
        self.starts += 1


def looks(kept: KeptRunning, clock: Clock, seconds: float) -> None:
    end = clock.now + seconds
    while clock.now < end:
        clock.now += 0.5
        kept.look()


def test_what_dies_starts_at_once_then_ever_later_and_no_later_than_half_a_minute(tmp_path: Path) -> None:
    child, clock = Process("front-0", [], {}, tmp_path / "log"), Clock()
    kept = KeptRunning([child], clock)
    kept.look()
    child.alive = False
    assert [delay for _, delay in kept.look()] == [0.0]
    assert child.starts == 1
    looks(kept, clock, 600)
    assert 20 <= child.starts <= 30  # 1 + 3 + 7 + 15 + 30 + 30 …: bounded, and never given up
    child.alive = True
    looks(kept, clock, SETTLED_SECONDS + LONGEST_BACK_OFF + 1)
    child.alive = False
    before = child.starts
    kept.look()
    assert child.starts == before + 1  # it ran well for a minute: as new


def test_who_runs_is_left_alone(tmp_path: Path) -> None:
    child, clock = Process("broker", [], {}, tmp_path / "log"), Clock()
    kept = KeptRunning([child], clock)
    looks(kept, clock, 300)
    assert child.starts == 0
