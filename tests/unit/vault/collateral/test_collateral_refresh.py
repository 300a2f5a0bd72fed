"""Refresh against services that lie: whatever they answer, only what holds and was asked for is put in place."""

import json
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509 import ocsp

from tests.fakes.attest_intel import FMSPC, FakeIntel, when
from tests.fakes.attest_manifest import DRIVER, FIRMWARE
from tests.fakes.attest_pki import NOW, NOW_MS, revocations
from tests.fakes.attest_trust import TrustFiles
from tests.fakes.collateral_services import (
    CollateralServices,
    announced,
    answer,
    dripping,
    dripping_headers,
    endless,
    many_headers,
)
from vault.attest.snp.product import Product
from vault.attest.trust.roots import Roots
from vault.collateral.fetching import Fetcher
from vault.collateral.office import Office, Outcome
from vault.collateral.refreshing import Refresh, Wanted, in_place
from vault.collateral.sources import parse_sources
from vault.endpoint.address import parse_networks
from vault.endpoint.dialer import Dialer
from vault.errors import Refused

INTEL_FILE = f"collateral/intel/{FMSPC.hex()}.json"
TCB = f"/tdx/certification/v4/tcb?fmspc={FMSPC.hex()}"
NOTHING = Wanted({}, (), (), ())
FAMILY = replace(NOTHING, families={FMSPC.hex(): "platform"})


@pytest.fixture(scope="module")
def running() -> Iterator[CollateralServices]:
    with CollateralServices() as services:
        yield services


@pytest.fixture
def services(running: CollateralServices) -> CollateralServices:
    running.routes.clear()
    running.seen.clear()
    running.statuses.clear()
    running.honest()
    return running


class Job:
    def __init__(self, path: Path, services: CollateralServices) -> None:
        self.services = services
        self.files = TrustFiles(path)
        self.files.put("development-roots/amd-milan.pem", services.amd.root.pem)
        roots = Roots(
            {Product.MILAN: frozenset({services.amd.root.pin})}, services.intel.roots, nvidia=services.device.roots,
            manifests=frozenset({services.manifests.root.pin}),
        )  # fmt: skip
        self.office = Office(path, development=True, roots=roots)

    def run(self, wanted: Wanted, *, sources: str | None = None, networks: str = "127.0.0.0/8,::1/128",
            ca: Path | None = None, seconds: float = 5.0, most: int = 2 << 20) -> list[Outcome]:  # fmt: skip
        listed = parse_sources(self.services.sources if sources is None else sources)
        dialer = Dialer("collateral", listed.values(), networks=parse_networks(networks))
        context = ssl.create_default_context(cafile=ca or self.services.ca)
        return Refresh(self.office, listed, Fetcher(dialer, context, total_seconds=seconds, most=most), NOW_MS).run(
            wanted
        )

    def one(self, wanted: Wanted = FAMILY, **options: Any) -> Outcome:
        (outcome,) = self.run(wanted, **options)
        return outcome

    def there(self) -> dict[str, bytes]:
        paths = [path for path in (self.files.path / "collateral").rglob("*") if path.is_file()]
        return {str(path.relative_to(self.files.path)): path.read_bytes() for path in paths}


@pytest.fixture
def job(tmp_path: Path, services: CollateralServices) -> Job:
    return Job(tmp_path, services)


def test_each_maker_is_asked_and_what_is_in_place_is_asked_again(job: Job) -> None:
    wanted = replace(FAMILY, products=[Product.MILAN], manifests=[DRIVER])
    outcomes = job.run(wanted)
    assert [one.outcome for one in outcomes] == ["new"] * 3, outcomes
    assert set(job.there()) == {INTEL_FILE, "collateral/amd/milan.crl", f"collateral/nvidia/{DRIVER}.xml"}
    here = in_place(job.office, NOW_MS)
    assert (here.families, here.products, here.manifests) == (wanted.families, [Product.MILAN], [DRIVER])
    assert len(here.paths) == 1  # of the manifest's signers
    again = job.run(here)
    assert [one.outcome for one in again] == ["unchanged"] * 3 + ["new"] * 3, again
    assert job.services.seen.count("/") == 3


def test_devices_are_asked_about_once_their_chain_is_here(job: Job) -> None:
    device = job.services.device
    chain = b"".join(one.pem for one in (device.leaf, device.device, device.provisioner, device.model, device.root))
    job.office.take_in("device.pem", chain, NOW_MS)
    outcomes = job.run(in_place(job.office, NOW_MS))
    assert [one.outcome for one in outcomes] == ["new"] * 4
    job.services.statuses[device.device.certificate.serial_number] = ocsp.OCSPCertStatus.REVOKED
    job.services.routes["POST"] = answer(b"no answer")
    assert {one.outcome for one in job.run(in_place(job.office, NOW_MS))} == {"failed"}
    assert len(job.there()) == 5  # the chain and four answers, as they were


def lies(services: CollateralServices) -> dict[str, Any]:
    intel, deep = services.intel, b'{"tcbInfo":' + b"[" * 100_000
    other = json.dumps({"tcbInfo": {}, "signature": "00" * 64}).encode()
    moved = answer(b"", status=302, Location=f"https://localhost:{services.port}/elsewhere")
    return {
        "another family": lambda: services.serve_intel(intel.collateral({"fmspc": "000000000001"})),
        "expired": lambda: services.serve_intel(intel.collateral({"nextUpdate": when(NOW - timedelta(hours=1))})),
        "not signed": lambda: services.serve_intel(intel.collateral(tcb_info_signature=bytes(64))),
        "signed by another": lambda: services.serve_intel(FakeIntel().collateral()),
        "revoked signer": lambda: services.serve_intel(
            intel.collateral(root_ca_crl=revocations(intel.root, [intel.signer]))
        ),
        "no chain": lambda: services.routes.update({TCB: answer(other)}),
        "not JSON": lambda: services.routes.update({TCB: answer(b"<html>", TCB_Info_Issuer_Chain="x")}),
        "a list": lambda: services.routes.update({TCB: answer(b"[]", TCB_Info_Issuer_Chain="x")}),
        "deep": lambda: services.routes.update({TCB: answer(deep, TCB_Info_Issuer_Chain="x")}),
        "not UTF-8": lambda: services.routes.update({TCB: answer(b"\xff", TCB_Info_Issuer_Chain="%ff")}),
        "empty": lambda: services.routes.update({TCB: answer(b"", TCB_Info_Issuer_Chain="x")}),
        "404": lambda: services.routes.pop(TCB),
        "500": lambda: services.routes.update({TCB: answer(b"", status=500)}),
        "204": lambda: services.routes.update({TCB: answer(b"", status=204)}),
        "redirect": lambda: services.routes.update({TCB: moved}),
        "endless": lambda: services.routes.update({TCB: endless}),
        "announced": lambda: services.routes.update({TCB: announced}),
        "many headers": lambda: services.routes.update({TCB: many_headers}),
        "gzip": lambda: services.routes.update({TCB: answer(b"x", Content_Encoding="gzip")}),
        "cut off": lambda: services.routes.update({TCB: answer(b"x", Content_Length="100")}),
        "negative": lambda: services.routes.update({TCB: answer(b"x", Content_Length="-1")}),
        "another list": lambda: services.routes.update({"/IntelSGXRootCA.der": answer(b"no list")}),
    }  # fmt: skip


SAID = {
    "another family": "attest.fmspc: it is Intel platform family 000000000001", "expired": "is not current",
    "not signed": "is not signed", "signed by another": "attest.collateral", "revoked signer": "attest.revoked",
    "no chain": "without the chain", "not JSON": "a member tcbInfo", "a list": "a member tcbInfo", "deep": "tcb_info",
    "not UTF-8": "attest.collateral", "empty": "a member tcbInfo", "404": "answered 404", "500": "answered 500",
    "204": "answered 204", "redirect": "collateral.redirect", "endless": "collateral.size: more than",
    "announced": "collateral.size: 524288000 bytes announced", "many headers": "collateral.answer",
    "gzip": "an encoding that nobody asked for", "cut off": "collateral.answer", "negative": "attest.collateral",
    "another list": "revocation list",
}  # fmt: skip


@pytest.mark.parametrize("lie", SAID)
def test_a_lie_changes_nothing(job: Job, lie: str) -> None:
    assert job.one().outcome == "new"
    before = job.there()
    lies(job.services)[lie]()
    began = time.monotonic()
    outcome = job.one()
    assert outcome.outcome == "failed"
    assert SAID[lie] in outcome.detail
    assert time.monotonic() - began < 3.0
    assert job.there() == before
    assert "/elsewhere" not in job.services.seen


@pytest.mark.parametrize("slow", [dripping, dripping_headers])
def test_slowness_ends_with_the_deadline_of_the_whole(job: Job, slow: Any) -> None:
    job.services.routes[TCB] = slow
    began = time.monotonic()
    outcome = job.one(seconds=0.6)
    assert "collateral.slow" in outcome.detail
    assert time.monotonic() - began < 2.0
    assert job.there() == {}


def test_a_rollback_is_refused(job: Job) -> None:
    job.services.serve_intel(job.services.intel.collateral({"tcbEvaluationDataNumber": 18}))
    assert job.one().outcome == "new"
    before = job.there()
    job.services.honest()
    outcome = job.one()
    assert (outcome.outcome, "older than 18" in outcome.detail) == ("failed", True)
    assert job.there() == before


def test_one_failure_leaves_the_others(job: Job) -> None:
    job.services.routes[TCB] = answer(b"", status=503)
    outcomes = job.run(replace(FAMILY, products=[Product.MILAN, Product.GENOA]))
    assert [one.outcome for one in outcomes] == ["failed", "new", "failed"]  # Genoa's list was Milan's


class TestManifests:
    def test_another_than_was_asked_for(self, job: Job) -> None:
        wanted = replace(NOTHING, manifests=[DRIVER])
        services = job.services
        made: tuple[Callable[[], None], ...] = (
            lambda: services.serve_manifest(DRIVER, services.manifests.driver(), id=FIRMWARE),
            lambda: services.serve_manifest(DRIVER, services.manifests.driver(), rim=7),
            lambda: services.serve_manifest(DRIVER, services.manifests.driver(), rim="$"),
            lambda: services.serve_manifest(DRIVER, services.manifests.driver("550.90.08")),
            lambda: services.serve_manifest(DRIVER, services.manifests.driver(product="GB100")),
            lambda: services.serve_manifest(DRIVER, b"<a/>"),
        )
        for serve in made:
            serve()
            assert job.one(wanted).outcome == "failed"
        assert job.there() == {}

    @pytest.mark.parametrize("identifier", ["../../v1/rim/NV", "NV_GPU DRIVER", "NV_\r\nHost: evil", ""])
    def test_no_identifier_leaves_its_place_in_the_request(self, job: Job, identifier: str) -> None:
        outcome = job.one(replace(NOTHING, manifests=[identifier]))
        assert (outcome.outcome, job.services.seen) == ("failed", [])


class TestNetworkRules:
    def test_only_declared_roles_are_asked(self, job: Job) -> None:
        outcomes = job.run(
            replace(FAMILY, products=[Product.MILAN]), sources=f"amd-kds=https://localhost:{job.services.port}"
        )
        assert [one.outcome for one in outcomes] == ["failed", "new"]
        assert "no source intel-pcs is set" in outcomes[0].detail
        assert job.services.seen == ["/vcek/v1/Milan/crl"]

    def test_this_machine_is_asked_only_where_its_range_is_declared(self, job: Job) -> None:
        outcome = job.one(networks="")
        assert "collateral.address" in outcome.detail
        assert job.services.seen == []

    def test_an_authority_that_is_not_declared(self, job: Job) -> None:
        with CollateralServices() as other:
            outcome = job.one(ca=other.ca)
        assert "collateral.tls" in outcome.detail
        assert job.services.seen == []

    def test_a_certificate_of_another_name(self, job: Job) -> None:
        with CollateralServices(name="elsewhere.example") as other:
            outcome = job.one(sources=other.sources, ca=other.ca)
            assert "collateral.tls" in outcome.detail
            assert other.seen == []

    def test_a_host_that_does_not_answer(self, job: Job) -> None:
        outcome = job.one(sources="intel-pcs=https://localhost:1")
        assert "collateral.unreachable" in outcome.detail


@pytest.mark.parametrize(
    "text",
    [
        "intel-pcs=http://localhost", "intel=https://localhost", "https://localhost", "intel-pcs", "intel-pcs=",
        "intel-pcs=https://user@localhost", "intel-pcs=https://localhost/path", "intel-pcs=ftp://localhost",
        "intel-pcs=https://a,intel-pcs=https://b",
    ],
)  # fmt: skip
def test_sources_that_are_none(text: str) -> None:
    with pytest.raises(Refused):
        parse_sources(text)


def test_no_sources_are_none() -> None:
    assert parse_sources("") == parse_sources(" , ") == {}
