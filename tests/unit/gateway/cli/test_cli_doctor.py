"""What `demesne doctor` says of the server's own installation."""

from demesne.doctor.findings import State
from gateway.cli import doctor


def test_a_missing_needed_package_fails_and_a_missing_extra_is_skipped() -> None:
    found = {"fastapi": "1", "pyarrow": None}
    assert doctor.packages("packages", found, needed=True).state is State.FAIL
    assert "pyarrow" in doctor.packages("packages", found, needed=True).detail
    assert doctor.packages("demo packages", found, needed=False).state is State.SKIP


def test_without_opa_it_says_who_decides() -> None:
    assert doctor.opa(None).state is State.SKIP
    assert doctor.opa("/usr/bin/opa").state is State.OK


def test_the_servers_checks_see_this_machine_and_the_provider_that_is_named() -> None:
    found = {finding.what: finding for finding in doctor.checks({"DEMESNE_KEY_PROVIDER": "carrier-pigeon:"})}
    assert found["packages"].state is State.OK
    assert found["key provider"].state is State.FAIL
