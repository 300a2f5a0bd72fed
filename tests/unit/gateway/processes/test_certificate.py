"""A renewed certificate is shown to who comes next; who is served notices nothing; a broken one changes nothing."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
import uvloop

from gateway.processes.certificate import Certificate, watch

AUTHORITY = trustme.CA()


def issue(directory: Path, name: str) -> trustme.LeafCert:
    """A new chain and key in the two files, as a renewal leaves them."""
    leaf = AUTHORITY.issue_cert("localhost", common_name=name)
    leaf.cert_chain_pems[0].write_to_path(str(directory / "cert.pem"))
    leaf.private_key_pem.write_to_path(str(directory / "key.pem"))
    return leaf


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    issue(tmp_path, "first")
    return Certificate(tmp_path / "cert.pem", tmp_path / "key.pem")


@asynccontextmanager
async def echo(certificate: Certificate) -> AsyncIterator[int]:
    """A server that answers each line; its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=certificate.context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def connect(
    port: int, server_name: str = "localhost", version: ssl.TLSVersion | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, str]:
    """A connection, and the common name it was shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    AUTHORITY.configure_trust(context)
    if version is not None:
        context.maximum_version = version
    if not server_name:
        context.check_hostname = False
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=server_name)
    shown = writer.get_extra_info("peercert")["subject"]
    return reader, writer, dict(part[0] for part in shown)["commonName"]


async def ended(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("loop_factory", [None, uvloop.new_event_loop])
@pytest.mark.parametrize("server_name", ["localhost", ""])
def test_new_connections_see_the_new_one_and_old_ones_go_on(
    loop_factory: object, server_name: str, certificate: Certificate, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with echo(certificate) as port:
            reader, writer, shown = await connect(port, server_name)
            assert shown == "first"
            issue(tmp_path, "second")
            assert certificate.changed()
            certificate.reload()
            assert not certificate.changed()
            other_reader, other, shown = await connect(port, server_name)
            assert shown == "second"
            for stream, into in ((reader, writer), (other_reader, other)):
                into.write(b"still here\n")
                assert await stream.readline() == b"still here\n"
            await ended(writer)
            await ended(other)

    with asyncio.Runner(loop_factory=loop_factory) as runner:  # type: ignore[arg-type]
        runner.run(scenario())


@pytest.mark.parametrize("damage", ["half a file", "the key of another", "no file"])
def test_what_cannot_be_used_is_never_shown(damage: str, certificate: Certificate, tmp_path: Path) -> None:
    chain, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    match damage:
        case "half a file":
            chain.write_bytes(chain.read_bytes()[:400])
        case "the key of another":
            AUTHORITY.issue_cert("localhost").private_key_pem.write_to_path(str(key))
        case _:
            chain.unlink()
    assert certificate.changed()
    with pytest.raises((OSError, ssl.SSLError)):
        certificate.reload()

    async def scenario() -> None:
        async with echo(certificate) as port:
            _, writer, shown = await connect(port)
            assert shown == "first"
            await ended(writer)

    asyncio.run(scenario())
    assert not certificate.changed()  # told once, not every two seconds
    issue(tmp_path, "third")
    certificate.reload()


def test_below_tls_1_3_is_refused_before_and_after_a_renewal(certificate: Certificate, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with echo(certificate) as port:
            for _ in range(2):
                with pytest.raises(OSError):
                    await connect(port, version=ssl.TLSVersion.TLSv1_2)
                issue(tmp_path, "second")
                certificate.reload()

    asyncio.run(scenario())


def test_a_signal_makes_it_look_at_once(certificate: Certificate, tmp_path: Path) -> None:
    async def scenario() -> None:
        hangup = asyncio.Event()
        watching = asyncio.create_task(watch(certificate, hangup))
        issue(tmp_path, "second")
        hangup.set()
        async with echo(certificate) as port:
            _, writer, shown = await connect(port)
            assert shown == "second"
            await ended(writer)
        watching.cancel()

    asyncio.run(scenario())
