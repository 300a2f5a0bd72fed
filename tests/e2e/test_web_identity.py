"""Unmodified clients with a token of an identity provider and nothing else: they get credentials of STS and read views.

A real zone: its jobs process fetches the provider's keys from a real HTTPS server, its front worker issues sessions.
"""

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config

from tests.e2e.conftest import DATASET
from tests.e2e.people import ROWS
from tests.e2e.s3_clients import Place, from_parquet
from tests.e2e.same_uri import seen
from tests.e2e.test_clients import KEY, Seen, authorities, read_by_all
from tests.e2e.world import World, connect, refused, until
from tests.fakes.identity_provider import IdentityProvider, issuers_file
from tests.fakes.issuer_server import IssuerServer, says

pytestmark = pytest.mark.timeout(180)
ROLE = "arn:demesne:iam::main:purpose/analytics"
TRAINING = "arn:demesne:iam::main:purpose/claims-risk-model"
ACCOUNT = "system:serviceaccount:reports:dashboard"
CLIENTS = ("boto3", "s3fs", "pandas-s3fs", "duckdb", "polars", "rclone", "aws", "pyiceberg-fsspec")
TLS_CLIENTS = ("obstore", "polars-native", "boto3")
TO_ANALYST = {"principal": "analyst", "purposes": ["analytics"]}


class Providers:
    """A cluster whose keys are fetched, and a mesh and a build service whose keys are pinned."""

    def __init__(self, server: IssuerServer) -> None:
        self.cluster = IdentityProvider(server.url)
        self.mesh = IdentityProvider()
        self.builds = IdentityProvider("https://builds.example")
        server.answer = says(self.cluster.jwks)
        bundle = {"keys": [jwk | {"use": "jwt-svid"} for jwk in self.mesh.jwks["keys"]]}
        both = [
            {"subject": "repo:acme/reports:ref:refs/heads/main", **TO_ANALYST},
            {"subject": "train", "principal": "trainer-by-token", "purposes": ["claims-risk-model"]},
        ]
        self.file = issuers_file(
            self.cluster.issuer(
                "cluster", kind="kubernetes", jwks=None, jwks_url=f"{server.url}/openid/v1/jwks", ca=str(server.ca),
                networks=server.networks, max_session_seconds=900,
                subjects=[{"subject_prefix": "system:serviceaccount:reports:", **TO_ANALYST}],
            ),
            self.mesh.issuer(
                "mesh", kind="spiffe", issuer=None, trust_domain="prod.example", jwks=bundle,
                subjects=[{"subject_prefix": "spiffe://prod.example/reports/", **TO_ANALYST}],
            ),
            self.builds.issuer("builds", subjects=both),
            issued=stamp(-60), expires=stamp(86_400),
        )  # fmt: skip

    def pod(self, **claims: Any) -> str:
        """What a cluster projects into a pod: rotated by kubelet, without typ, audience in a list."""
        now = int(time.time())
        bound = {"namespace": "reports", "serviceaccount": {"name": "dashboard"}, "pod": {"name": "dashboard-0"}}
        said = self.cluster.claims(now, sub=ACCOUNT, aud=["demesne-de"], jti=str(time.monotonic_ns()), **claims)
        return self.cluster.token(said | {"kubernetes.io": bound}, header={"typ": None})

    def svid(self) -> str:
        claims = self.mesh.claims(int(time.time()), iss=None, iat=None, sub="spiffe://prod.example/reports/dashboard")
        return self.mesh.token(claims, alg="ES256")

    def build(self, sub: str = "repo:acme/reports:ref:refs/heads/main", **claims: Any) -> str:
        return self.builds.token(self.builds.claims(int(time.time()), sub=sub, **claims))


def stamp(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))


@contextmanager
def trusted(world: World) -> Iterator[Providers]:
    """By zone de of this world, until the block ends."""
    directory = world.zone_dir() / "trust"
    directory.mkdir(exist_ok=True, mode=0o700)
    path = directory / "identity-issuers.json"
    with IssuerServer() as server:
        made = Providers(server)
        (directory / "new").write_bytes(made.file)
        (directory / "new").rename(path)
        until(lambda: assumed(world, made.pod()), 20, "the cluster's keys were not fetched", lambda found: found == "")
        yield made
        path.unlink()


@pytest.fixture(scope="module")
def providers(world: World) -> Iterator[Providers]:
    with trusted(world) as made:
        yield made


def sts(world: World) -> Any:
    return connect(
        "sts", endpoint_url=world.zone().s3_endpoint, region_name="de", aws_access_key_id="none",
        aws_secret_access_key="none", verify=str(world.ca) if world.ca else None,
        config=Config(retries={"total_max_attempts": 1}),
    )  # fmt: skip


def assume(world: World, token: str, role: str = ROLE, **more: Any) -> Any:
    return sts(world).assume_role_with_web_identity(
        RoleArn=role, RoleSessionName="tests", WebIdentityToken=token, **more
    )


def assumed(world: World, token: str) -> str:
    """ "" or the code of the refusal."""
    client = sts(world)
    try:
        client.assume_role_with_web_identity(RoleArn=ROLE, RoleSessionName="tests", WebIdentityToken=token)
    except client.exceptions.ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


def environment(world: World, file: Path, role: str = ROLE) -> dict[str, str]:
    return {
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(file), "AWS_ROLE_ARN": role, "AWS_REGION": "de",
        "AWS_DEFAULT_REGION": "de", "AWS_ENDPOINT_URL": world.zone().s3_endpoint, "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL_STS": world.zone().s3_endpoint,  # what rclone and obstore read, who ignore the general one
        "AWS_ALLOW_HTTP": "true",
    } | authorities(world)  # fmt: skip


def write(path: Path, token: str) -> None:
    """As kubelet does: a new file in place of the old one."""
    new = path.with_suffix(".new")
    new.write_text(token)
    new.rename(path)


@pytest.fixture(scope="module")
def masked(world: World) -> dict[str, Any]:
    """What the analyst's static keys show."""
    body = world.s3("analyst").get_object(Bucket=DATASET, Key=KEY)["Body"].read()
    found = seen(lambda _: lambda: from_parquet(io.BytesIO(body)), Place(DATASET, KEY, "", "", None))
    assert "error" not in found
    return found


@pytest.fixture(scope="module")
def by_token(world: World, providers: Providers, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    home = tmp_path_factory.mktemp("home")
    # An hour: below 15 minutes botocore renews at every look, and polars puts parts of two sessions together.
    write(home / "token", providers.build())
    return read_by_all(environment(world, home / "token"), home, *CLIENTS)


@pytest.fixture(scope="module")
def by_token_over_tls(tls: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    home = tmp_path_factory.mktemp("home")
    with trusted(tls) as providers:
        write(home / "token", providers.svid())
        yield read_by_all(environment(tls, home / "token"), home, *TLS_CLIENTS)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_with_a_token_file_reads_the_masked_view(client: str, by_token: Seen, masked: dict[str, Any]) -> None:
    assert "error" not in by_token[client], by_token[client]
    assert by_token[client] == masked
    assert by_token[client]["rows"] == ROWS // 2
    assert by_token[client]["first"].startswith("p_")


@pytest.mark.parametrize("client", TLS_CLIENTS)
def test_over_tls_with_a_private_authority(client: str, by_token_over_tls: Seen) -> None:
    """obstore, and what stands on its library, ask STS over https only."""
    assert "error" not in by_token_over_tls[client], by_token_over_tls[client]
    assert by_token_over_tls[client]["first"].startswith("p_")


def script(world: World, home: Path, what: str) -> subprocess.Popen[str]:
    base = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "PYTHONPATH": "."}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.web_identity_clients", what, DATASET, KEY],
        env=base | environment(world, home / "token"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_minio_with_its_web_identity_provider(
    world: World, providers: Providers, masked: dict[str, Any], tmp_path: Path
) -> None:
    write(tmp_path / "token", providers.build())
    with script(world, tmp_path, "minio") as running:
        out, _ = running.communicate(timeout=60)
    assert json.loads(out)["sha256"] == masked["sha256"]


def test_one_client_goes_on_with_the_token_that_is_there_now(
    world: World, providers: Providers, masked: dict[str, Any], tmp_path: Path
) -> None:
    """Its first token has ended when it renews; sessions of this issuer last 900 s, so botocore renews every time."""
    write(tmp_path / "token", providers.pod(exp=int(time.time()) - 56))
    with script(world, tmp_path, "renew") as running:
        assert running.stdin is not None
        assert running.stdout is not None
        lines = [json.loads(running.stdout.readline())]
        time.sleep(5)  # with the skew of a minute it has ended now
        assert assumed(world, (tmp_path / "token").read_text()) == "ExpiredTokenException"
        write(tmp_path / "token", providers.pod())
        for _ in range(2):
            running.stdin.write("again\n")
            running.stdin.flush()
            lines.append(json.loads(running.stdout.readline()))
        running.stdin.close()
    assert {line["sha256"] for line in lines} == {masked["sha256"]}
    assert len({line["key"] for line in lines}) == 3


@pytest.mark.parametrize("kind", ["pod", "svid", "build"])
def test_each_kind_of_provider(world: World, providers: Providers, kind: str) -> None:
    answer = assume(world, getattr(providers, kind)())
    made = answer["Credentials"]
    client = connect(
        "s3", endpoint_url=world.zone().s3_endpoint, region_name="de", aws_access_key_id=made["AccessKeyId"],
        aws_secret_access_key=made["SecretAccessKey"], aws_session_token=made["SessionToken"],
        config=Config(s3={"addressing_style": "path"}),
    )  # fmt: skip
    assert client.head_object(Bucket=DATASET, Key=KEY)["ContentLength"] > 0
    expected = {"pod": ACCOUNT, "svid": "spiffe://prod.example/reports/dashboard"}
    assert answer["SubjectFromWebIdentityToken"] == expected.get(kind, "repo:acme/reports:ref:refs/heads/main")
    assert answer["Audience"] == "demesne-de"


def test_a_training_identity_is_refused_raw_and_told_to_attest(world: World, providers: Providers) -> None:
    with world.api() as api:
        api.create_principal(
            "trainer-by-token", kind="workload", roles=["trainer"], jurisdiction="de", purposes=["claims-risk-model"],
            purpose=None,
        )  # fmt: skip
    lying = providers.build("train", kind="snp", hardware=True, tier="affirming", session={"kind": "attested"})
    made = assume(world, lying, TRAINING)["Credentials"]
    client = connect(
        "s3", endpoint_url=world.zone().s3_endpoint, region_name="de", aws_access_key_id=made["AccessKeyId"],
        aws_secret_access_key=made["SecretAccessKey"], aws_session_token=made["SessionToken"],
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )  # fmt: skip
    answer = refused(client.get_object, Bucket=DATASET, Key=KEY)
    assert (answer.status, answer.code) == (403, "AccessDenied")
    assert "attestation.required" in answer.message


@pytest.mark.parametrize(
    ("make", "role", "code"),
    [
        (lambda made: made.build("repo:acme/other:ref:refs/heads/main"), ROLE, "AccessDenied"),
        (lambda made: made.build(), TRAINING, "AccessDenied"),
        (lambda made: made.build(aud="other"), ROLE, "InvalidIdentityToken"),
        (lambda made: made.build(exp=1), ROLE, "ExpiredTokenException"),
        (lambda made: made.build(nbf=9_000_000_000), ROLE, "IDPRejectedClaim"),
        (lambda made: made.build()[:-8] + "AAAAAAAA", ROLE, "InvalidIdentityToken"),
        (lambda made: made.cluster.token(made.cluster.claims(int(time.time())), header={"kid": "new"}), ROLE, None),
    ],
    ids=["mapping", "purpose", "audience", "expired", "not yet", "signature", "unknown key"],
)
def test_botocore_names_each_refusal(
    world: World, providers: Providers, make: Any, role: str, code: str | None
) -> None:
    answer = refused(assume, world, make(providers), role)
    # A key that is not known yet: worth another try while it may be fetched, and not within a minute of a fetch.
    assert answer.code == code or (code is None and answer.code in {"IDPCommunicationError", "InvalidIdentityToken"})


def test_a_policy_is_refused_and_not_ignored(world: World, providers: Providers) -> None:
    policy = '{"Version":"2012-10-17","Statement":[]}'
    assert refused(assume, world, providers.build(), Policy=policy).code == "MalformedPolicyDocument"
    assert refused(assume, world, providers.build(), DurationSeconds=7200).code == "ValidationError"
