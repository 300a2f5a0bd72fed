"""What the doctor says of each client's trust in a gateway's certificate."""

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import trustme

from demesne.doctor.findings import Finding, State
from demesne.doctor.trust import READERS, handshake, trust

ENDPOINT = "https://gateway.example.org:9000"


def believer(*good: str | None):  # type: ignore[no-untyped-def]
    def trusts(_endpoint: str, bundle: str | None) -> str | None:
        return None if bundle in good else "unable to get local issuer certificate"

    return trusts


def of(client: str, found: list[Finding]) -> Finding:
    [one] = [finding for finding in found if client in finding.what]
    return one


def test_a_plain_endpoint_needs_no_authority() -> None:
    assert trust("http://127.0.0.1:9000", {}, None, believer()) == []


def test_a_public_certificate_needs_no_variable() -> None:
    assert {finding.state for finding in trust(ENDPOINT, {}, None, believer(None))} == {State.OK}


def test_without_variables_each_client_is_told_its_own() -> None:
    found = trust(ENDPOINT, {}, "/ca.pem", believer("/ca.pem"))
    assert {finding.state for finding in found} == {State.WARN}
    assert of("boto3", found).remedy == "export AWS_CA_BUNDLE=/ca.pem"
    assert of("pyarrow", found).remedy == "export SSL_CERT_FILE=/ca.pem"
    assert of("requests", found).remedy == "export REQUESTS_CA_BUNDLE=/ca.pem"
    assert of("curl", found).remedy == "export CURL_CA_BUNDLE=/ca.pem"


def test_the_variable_of_one_client_does_nothing_for_another() -> None:
    found = trust(ENDPOINT, {"AWS_CA_BUNDLE": "/ca.pem"}, "/ca.pem", believer("/ca.pem"))
    assert of("boto3", found).state is State.OK
    assert of("pyarrow", found).state is State.WARN


def test_the_first_variable_a_client_reads_counts_though_a_later_one_would_do() -> None:
    env = {"AWS_CA_BUNDLE": "/old.pem", "REQUESTS_CA_BUNDLE": "/ca.pem"}
    found = of("boto3", trust(ENDPOINT, env, "/ca.pem", believer("/ca.pem")))
    assert found.state is State.FAIL
    assert found.remedy == "export AWS_CA_BUNDLE=/ca.pem"


def test_without_a_known_authority_the_remedy_says_what_to_look_for() -> None:
    assert "authority that issued it" in of("boto3", trust(ENDPOINT, {}, None, believer())).remedy


def test_every_client_stands_in_one_group() -> None:
    named = [client for reader in READERS for client in reader.clients]
    assert len(named) == len(set(named))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)

    class Silent(HTTPServer):
        def handle_error(self, *_: object) -> None:
            pass

    with Silent(("127.0.0.1", 0), BaseHTTPRequestHandler) as http:
        http.socket = context.wrap_socket(http.socket, server_side=True)
        thread = threading.Thread(target=http.serve_forever, args=(0.05,))
        thread.start()
        yield f"https://localhost:{http.server_port}"
        http.shutdown()
        thread.join()


def test_a_real_handshake_decides(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert handshake(server, str(tmp_path / "ca.pem")) is None
    # The doctor's own environment must not answer for a client that reads another variable.
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    assert "issuer" in (handshake(server, None) or "")
    other = trustme.CA()
    other.cert_pem.write_to_path(str(tmp_path / "other.pem"))
    assert handshake(server, str(tmp_path / "other.pem")) is not None
    assert "FileNotFoundError" in (handshake(server, str(tmp_path / "none.pem")) or "")
    (tmp_path / "odd.pem").write_text("no certificate")
    assert handshake(server, str(tmp_path / "odd.pem")) is not None
    assert handshake(server.replace("localhost", "127.0.0.1"), str(tmp_path / "ca.pem")) is not None  # another name
