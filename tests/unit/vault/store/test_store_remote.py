"""Both bucket drivers against a server that lies: each lie has a name at the port, and changes nothing else."""

import os
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.fakes.lying_s3 import BUCKET, Answer, Asked, LyingS3, error, etag_of, listing, lying_s3, xml
from tests.fakes.store_contract import StoreContract
from vault.endpoint.address import parse_networks
from vault.endpoint.dialer import key_hash
from vault.errors import VaultError
from vault.residency import Located, observe
from vault.store.minio import MinioStore
from vault.store.remote import PART, RemoteStore
from vault.store.s3 import S3Store

DRIVERS: dict[str, Any] = {"s3": S3Store, "minio": MinioStore}
DATA = os.urandom(300_000)
OLDER = os.urandom(300_000)
Bend = Callable[[Asked, Answer], Answer]


@pytest.fixture(scope="module")
def running() -> Iterator[LyingS3]:
    with lying_s3() as server:
        yield server


@pytest.fixture
def server(running: LyingS3) -> LyingS3:
    running.__dict__.update({name: value for name, value in vars(LyingS3()).items() if name not in {"port", "scheme"}})
    return running


def connected(server: LyingS3, driver: str, **changes: Any) -> RemoteStore:
    made: RemoteStore = DRIVERS[driver].connect(**({
        "bucket": BUCKET, "endpoint": server.endpoint, "region": "eu-central-1", "access_key": "access",
        "secret_key": "secret", "networks": parse_networks("127.0.0.0/8"), "timeout": 2.0,
        "attempts": 1,
    } | changes))  # fmt: skip
    return made


@pytest.fixture(scope="module")
def stores(running: LyingS3) -> dict[str, RemoteStore]:
    return {driver: connected(running, driver) for driver in DRIVERS}


@pytest.fixture(params=DRIVERS)
def store(server: LyingS3, stores: dict[str, RemoteStore], request: pytest.FixtureRequest) -> RemoteStore:
    return stores[request.param]


class TestDriversOverAnHonestServer(StoreContract):
    pass


def on(what: str, bend: Bend) -> Bend:
    return lambda asked, answer: bend(asked, answer) if asked.what == what else answer


def whole(asked: Asked, answer: Answer) -> Answer:
    return Answer(200, {"etag": etag_of(DATA)}, DATA)


READS: dict[str, tuple[Bend, str]] = {
    "short body, long length": (lambda q, a: a.but(cut=50), "store.unreachable"),
    "no body": (lambda q, a: a.but(cut=0), "store.unreachable"),
    "short body, honest length": (lambda q, a: a.but(body=a.body[:-1]), "store.short"),
    "long body": (lambda q, a: a.but(body=a.body + b"x"), "store.short"),
    "another range": (lambda q, a: a.but(headers=a.headers | {"content-range": "bytes 5-104/300000"}), "store.short"),
    "another total": (lambda q, a: a.but(headers=a.headers | {"content-range": "bytes 100-199/200"}), "store.short"),
    "no range named": (lambda q, a: Answer(206, {"etag": a.headers["etag"]}, a.body), "store.short"),
    "the whole object, 200": (whole, "store.short"),
    "an older version": (lambda q, a: a.but(headers=a.headers | {"etag": etag_of(OLDER)}), "store.version"),
    "no version named": (
        lambda q, a: a.but(headers={"content-range": a.headers["content-range"]}), "store.version"
    ),
    "304": (lambda q, a: Answer(304, {"etag": a.headers["etag"]}), "store.io"),
    "403": (lambda q, a: error(403, "AccessDenied"), "store.io"),
    "404": (lambda q, a: error(404, "NoSuchKey"), "store.missing"),
    "412": (lambda q, a: error(412, "PreconditionFailed"), "store.io"),
    "416": (lambda q, a: error(416, "InvalidRange"), "store.short"),
    "500": (lambda q, a: error(500, "InternalError"), "store.io"),
    "503": (lambda q, a: error(503, "SlowDown"), "store.io"),
    "507": (lambda q, a: error(507, "QuotaExceeded"), "store.full"),
    "no XML in the error": (lambda q, a: Answer(502, {"content-type": "text/html"}, b"<h1>proxy</h1>"), "store.io"),
    "an answer of nothing": (lambda q, a: a.but(drop=True), "store.unreachable"),
    "another region": (
        lambda q, a: error(400, "AuthorizationHeaderMalformed", "<Region>us-east-1</Region>"), "store.io"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", READS)
def test_a_read_that_is_answered_wrongly_has_a_name_and_the_next_one_is_right(
    name: str, server: LyingS3, store: RemoteStore
) -> None:
    bend, reason = READS[name]
    server.objects |= {"b/aa/1": DATA, "b/aa/2": OLDER}
    server.bend = on("GET object", bend)
    with pytest.raises(VaultError) as failed:
        store.read_at("b/aa/1", 100, 100)
    assert failed.value.reason == reason
    assert not [asked for asked in server.asked if asked.method not in {"GET", "HEAD"}]
    server.honest()
    assert store.read_at("b/aa/1", 100, 100) == DATA[100:200]
    assert store.read_at("b/aa/2", 0, 10) == OLDER[:10]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("what", ["HEAD object", "GET object", "PUT object"])
@pytest.mark.parametrize("target", ["elsewhere", "metadata", "same"])
def test_no_redirect_is_followed(
    status: int, what: str, target: str, server: LyingS3, store: RemoteStore
) -> None:
    server.objects["b/aa/1"] = DATA
    with lying_s3() as elsewhere:
        where = {
            "elsewhere": f"{elsewhere.endpoint}/sealed/b/aa/1", "metadata": "http://169.254.169.254/latest/meta-data/",
            "same": f"{server.endpoint}/sealed/b/aa/1?again",
        }[target]  # fmt: skip
        headers = {"location": where, "x-amz-bucket-region": "us-east-1"}
        server.refuse = lambda asked: Answer(status, headers) if asked.what == what else None
        with pytest.raises(VaultError) as failed:
            store.put_bytes("b/aa/9", DATA) if what == "PUT object" else store.read_at("b/aa/1", 0, 10)
        assert failed.value.reason == "store.redirect"
        assert elsewhere.asked == []
    assert [asked.what for asked in server.asked].count(what) == 1
    assert "b/aa/9" not in server.objects


def test_another_region_is_not_signed_for(server: LyingS3, store: RemoteStore) -> None:
    server.objects["b/aa/1"] = DATA
    server.bend = lambda q, a: error(400, "AuthorizationHeaderMalformed", "<Region>us-east-1</Region>")
    with pytest.raises(VaultError):
        store.read_at("b/aa/1", 0, 10)
    assert all("/eu-central-1/" in asked.headers["authorization"] for asked in server.asked)


WRITES: dict[str, tuple[str, Bend, str]] = {
    "500 to PUT": ("PUT object", lambda q, a: error(500, "InternalError"), "store.io"),
    "507 to PUT": ("PUT object", lambda q, a: error(507, "QuotaExceeded"), "store.full"),
    "403 to PUT": ("PUT object", lambda q, a: error(403, "AccessDenied"), "store.io"),
    "no answer to PUT": ("PUT object", lambda q, a: a.but(drop=True), "store.unreachable"),
    "no upload": ("POST uploads", lambda q, a: error(500, "InternalError"), "store.io"),
    "an upload without an id": (
        "POST uploads", lambda q, a: xml("<InitiateMultipartUploadResult/>"), "store.io"
    ),
    "500 to a part": ("PUT uploadId", lambda q, a: error(500, "InternalError"), "store.io"),
    "507 to a part": ("PUT uploadId", lambda q, a: error(507, "QuotaExceeded"), "store.full"),
    "a part that was lost": ("PUT uploadId", lambda q, a: error(404, "NoSuchUpload"), "store.io"),
    "500 to the end": ("POST uploadId", lambda q, a: error(500, "InternalError"), "store.io"),
    "an error with 200": ("POST uploadId", lambda q, a: error(200, "InternalError"), "store.io"),
    "an answer that is lost": ("POST uploadId", lambda q, a: a.but(drop=True), "store.io"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITES)
def test_a_write_that_failed_is_not_acknowledged(name: str, server: LyingS3, store: RemoteStore) -> None:
    what, bend, reason = WRITES[name]
    server.objects["b/aa/1"] = DATA
    server.bend = on(what, bend)
    data = DATA if what == "PUT object" else os.urandom(PART + 1000)
    with pytest.raises(VaultError) as failed:
        store.put_bytes("b/aa/9", data)
    assert failed.value.reason in {reason, "store.unreachable" if name == "an answer that is lost" else reason}
    server.honest()
    assert server.parts == {} or what == "POST uploads"  # what was begun was ended
    assert server.objects["b/aa/1"] == DATA
    assert store.read_at("b/aa/1", 0, 10) == DATA[:10]


@pytest.mark.parametrize("how", ["doubled", "dropped", "swapped for another"])
def test_a_part_that_was_put_together_wrongly_is_not_acknowledged(
    how: str, server: LyingS3, store: RemoteStore
) -> None:
    def bend(asked: Asked, answer: Answer) -> Answer:
        if asked.what == "POST uploadId":
            data = server.objects[asked.key]
            changed = {"doubled": data + data[:PART], "dropped": data[PART:], "swapped for another": data[:PART] + b"x"}
            server.objects[asked.key] = changed[how]
        return answer

    server.bend = bend
    with pytest.raises(VaultError) as failed:
        store.put_bytes("b/aa/9", os.urandom(PART + 1000))
    assert failed.value.reason == "store.io"


@pytest.mark.parametrize(
    "answer",
    [xml("<ListBucketResult>"), xml(listing([], truncated=True)), error(500, "InternalError"), Answer(drop=True)],
    ids=["not XML", "more without a token", "500", "nothing"],
)
def test_a_listing_that_breaks_off_does_not_look_like_an_empty_store(
    answer: Answer, server: LyingS3, store: RemoteStore
) -> None:
    server.objects["b/aa/1"] = DATA
    server.bend = on("GET list-type", lambda q, a: answer)
    with pytest.raises(VaultError) as failed:
        list(store.list())
    assert failed.value.reason in {"store.io", "store.unreachable"}


# --- what a bucket says of itself

RULES = (
    "<ReplicationConfiguration><Role>r</Role><Rule><ID>1</ID><Status>{status}</Status><Prefix></Prefix><Destination>"
    "<Bucket>{target}</Bucket></Destination></Rule></ReplicationConfiguration>"
)
PUBLIC = '{"Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"*"}]}'


def look(store: RemoteStore, **locations: str) -> dict[str, str]:
    seen = observe([Located("store", store, store.exposure)], "de", {"eu-central-1": "de"} | locations)
    return {each.what: each.reason for each in seen}


def test_an_ordinary_bucket_is_open(server: LyingS3, store: RemoteStore) -> None:
    server.objects["b/aa/1"] = DATA
    assert set(look(store).values()) == {""}


@pytest.mark.parametrize("status", ["Enabled", "Disabled"])
def test_rules_to_a_place_nobody_knows_close(status: str, server: LyingS3, store: RemoteStore) -> None:
    target = "arn:aws:s3:::copies"
    server.settings["GET replication"] = xml(RULES.format(status=status, target=target))
    assert look(store)["store-replica"] == "store.replica-unknown"
    assert look(store, **{target: "us"})["store-replica"] == "store.replica-elsewhere"
    assert look(store, **{target: "de"})["store-replica"] == ""
    del server.settings["GET replication"]
    assert look(store)["store-replica"] == ""


@pytest.mark.parametrize("answer", [error(403, "AccessDenied"), error(500, "InternalError")])
def test_rules_that_may_not_be_seen_close(answer: Answer, server: LyingS3, store: RemoteStore) -> None:
    server.settings["GET replication"] = answer
    assert look(store)["store-replica"] == "store.replication-unknown"


def test_a_store_without_such_rules_says_so(server: LyingS3, store: RemoteStore) -> None:
    server.settings["GET replication"] = error(501, "NotImplemented")
    (seen,) = [each for each in observe([Located("store", store, store.exposure)], "de", {"eu-central-1": "de"})
               if each.what == "store-replica"]  # fmt: skip
    assert (seen.matches, seen.observed) == (True, "no; not answered: replication")


def test_anonymous_reading_is_tried_and_not_asked_about(server: LyingS3, store: RemoteStore) -> None:
    server.objects["b/aa/1"] = DATA
    server.public = True
    assert look(store)["store-public"] == "store.public"
    server.public = False
    assert look(store)["store-public"] == ""
    tried = [asked for asked in server.asked if "authorization" not in asked.headers]
    assert {asked.key for asked in tried} == {"", "b/aa/1"}


def test_one_object_that_everybody_may_read_is_a_door(server: LyingS3, store: RemoteStore) -> None:
    server.objects["b/aa/1"] = DATA
    server.refuse = lambda asked: (
        Answer(206, {"content-range": "bytes 0-0/9"}, b"x")
        if "authorization" not in asked.headers and asked.what == "GET object" else None
    )  # fmt: skip
    assert look(store)["store-public"] == "store.public"


@pytest.mark.parametrize("text", [PUBLIC, PUBLIC.replace('"*","A', '{"AWS":"*"},"A'), "not JSON"])
def test_a_policy_for_everybody_is_a_door(text: str, server: LyingS3, store: RemoteStore) -> None:
    server.settings["GET policy"] = Answer(200, {"content-type": "application/json"}, text.encode())
    assert look(store)["store-public"] == "store.public"


def test_a_store_that_does_not_answer_is_unknown_and_closed(server: LyingS3, store: RemoteStore) -> None:
    server.refuse = lambda asked: Answer(drop=True)
    assert look(store)["store"] == "store.unreachable"
    assert set(look(store).values()) == {"store.unreachable"}


@pytest.mark.parametrize(("status", "told"), [("", "off"), ("Enabled", "kept"), ("Suspended", "suspended")])
def test_versions_that_stay_are_told(status: str, told: str, server: LyingS3, store: RemoteStore) -> None:
    inner = f"<Status>{status}</Status>" if status else ""
    server.settings["GET versioning"] = xml(f"<VersioningConfiguration>{inner}</VersioningConfiguration>")
    assert store.exposure().versions == told


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_environment_names_no_proxy(driver: str, server: LyingS3, monkeypatch: pytest.MonkeyPatch) -> None:
    server.objects["b/aa/1"] = DATA
    with lying_s3() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.endpoint)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert connected(server, driver).read_at("b/aa/1", 0, 5) == DATA[:5]
        assert proxy.asked == []


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_store_outside_its_ranges_is_never_connected_to(driver: str, server: LyingS3) -> None:
    for networks in ("", "10.0.0.0/8"):
        store = connected(server, driver, networks=parse_networks(networks))
        with pytest.raises(VaultError) as failed:
            store.put_bytes("b/aa/1", b"x")
        assert failed.value.reason in {"store.address", "store.plain-http"}
    assert server.asked == []


# --- over TLS: what the connection itself proves


@dataclass(frozen=True)
class Secure:
    server: LyingS3
    ca: Path
    pin: str


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    directory, authority = tmp_path_factory.mktemp("tls"), trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    pem = certificate.cert_chain_pems[0].bytes().decode()
    with lying_s3(context) as server:
        server.objects["b/aa/1"] = DATA
        yield Secure(server, directory / "ca.pem", key_hash(ssl.PEM_cert_to_DER_cert(pem)))


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_pinned_key_inside_a_declared_range_is_the_network(driver: str, secure: Secure) -> None:
    store = connected(secure.server, driver, ca=secure.ca, pins=(secure.pin,))
    found = store.location()
    assert (found.observed, found.strength) == ("eu-central-1", "network")
    assert found.target.endswith("/sealed at 127.0.0.1")
    seen = observe([Located("store", store, store.exposure)], "de", {"eu-central-1": "de"})
    assert {each.strength for each in seen} == {"network"}
    assert store.read_at("b/aa/1", 5, 5) == DATA[5:10]


@pytest.mark.parametrize("driver", DRIVERS)
def test_without_a_pin_it_is_somebodys_word(driver: str, secure: Secure) -> None:
    assert connected(secure.server, driver, ca=secure.ca).location().strength == "self-reported"


@pytest.mark.parametrize("driver", DRIVERS)
def test_another_key_gets_nothing_and_sees_no_request(driver: str, secure: Secure) -> None:
    asked = len(secure.server.asked)
    store = connected(secure.server, driver, ca=secure.ca, pins=("0" * 64,))
    for call in (store.location, lambda: store.put_bytes("b/aa/9", b"x"), lambda: store.read_at("b/aa/1", 0, 1)):
        with pytest.raises(VaultError) as failed:
            call()
        assert failed.value.reason == "store.pin"
    assert len(secure.server.asked) == asked


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("how", ["another authority", "public authorities"])
def test_an_authority_that_is_not_named_vouches_for_nothing(
    driver: str, how: str, secure: Secure, tmp_path: Path
) -> None:
    asked = len(secure.server.asked)
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    store = connected(secure.server, driver, ca=tmp_path / "other.pem" if how == "another authority" else None)
    with pytest.raises(VaultError) as failed:
        store.put_bytes("b/aa/9", b"x")
    assert failed.value.reason == "store.unreachable"
    assert len(secure.server.asked) == asked


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_rebinding_name_server_never_leads_the_client_inside(driver: str, secure: Secure) -> None:
    """The name is that of a store outside; later it is said to be 127.0.0.1, where somebody listens."""
    answers = iter([["93.184.215.14", "127.0.0.1"], ["127.0.0.1"], ["::ffff:127.0.0.1"], ["169.254.169.254"]])
    store = connected(
        secure.server, driver, endpoint=f"https://store.example:{secure.server.port}", ca=secure.ca, networks=(),
        resolve=lambda host, port: next(answers),
    )  # fmt: skip
    asked = len(secure.server.asked)
    for _ in range(4):
        with pytest.raises(VaultError) as failed:
            store.put_bytes("b/aa/9", b"x")
        assert failed.value.reason == "store.address"
    assert len(secure.server.asked) == asked


def test_a_file_of_authorities_that_is_none_is_named_at_once(tmp_path: Path, secure: Secure) -> None:
    for text in ("", "not PEM"):
        (tmp_path / "ca.pem").write_text(text)
        for driver in DRIVERS:
            with pytest.raises(VaultError) as failed:
                connected(secure.server, driver, ca=tmp_path / "ca.pem")
            assert failed.value.reason == "store.ca"
