"""STS on the S3 endpoint: from a token to credentials that read a masked view, and every way in which it says no.

Answers are parsed by botocore's own parser; the road behind them is the whole one: signature, doctrine, ledger, views.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import Denied
from gateway.identity.issuer_keys import row_name
from tests.fakes.gateway_world import CSV, GATEWAY, MASKED
from tests.fakes.identity_provider import AUDIENCE, IdentityProvider
from tests.fakes.ledger import ledger_down
from tests.fakes.s3_client import WireRequest, call, signed
from tests.fakes.sts_world import HOST, ROLE, Asked, StsWorld
from vault.attest.binding import ExpectedBinding, key_thumbprint
from vault.attest.identities import value_digest
from vault.attest.sample import sample_evidence

TRAINING = "arn:demesne:iam::main:purpose/claims-risk-model"
BOTH = [
    {"subject": "ci", "principal": "analyst", "purposes": ["analytics"]},
    {"subject": "train", "principal": "trainer", "purposes": ["claims-risk-model"]},
    {"subject": "ghost", "principal": "nobody-of-that-name", "purposes": ["analytics"]},
]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[StsWorld]:
    made = StsWorld(tmp_path)
    yield made
    made.close()


@pytest.fixture
def provider(world: StsWorld) -> IdentityProvider:
    made = IdentityProvider()
    world.trusts(made.issuer(subjects=BOTH))
    return made


def token(world: StsWorld, provider: IdentityProvider, **claims: Any) -> str:
    return provider.token(provider.claims(world.now, **claims))


def sessions(world: StsWorld) -> int:
    (count,) = world.rows("select count(*) from session")[0]
    return int(count)


# --- what is issued


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_token_becomes_credentials_that_read_the_masked_view(
    world: StsWorld, provider: IdentityProvider, method: str
) -> None:
    world.build(world.put("a.csv", CSV))
    answer = world.assume(token(world, provider), method=method)
    assert answer.status == 200, answer.response.body
    read = world.get(answer.credentials, "claims/a.csv")
    assert (read.status, read.body) == (200, MASKED), read.body


def test_the_answer_as_botocore_reads_it(world: StsWorld, provider: IdentityProvider) -> None:
    parsed = world.assume(token(world, provider)).parsed
    credentials = parsed["Credentials"]
    session_id = credentials["AccessKeyId"].removeprefix("DSES").lower()
    assert set(credentials) == {"AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration"}
    assert credentials["Expiration"].timestamp() == world.now + 3600
    assert parsed["SubjectFromWebIdentityToken"] == "ci"
    assert (parsed["Audience"], parsed["Provider"]) == (AUDIENCE, provider.iss)
    assert parsed["AssumedRoleUser"] == {
        "AssumedRoleId": f"{session_id}:job-1", "Arn": "arn:demesne:sts::main:assumed-role/analytics/job-1",
    }  # fmt: skip
    assert parsed["ResponseMetadata"]["RequestId"]
    assert "Error" not in parsed


def test_a_session_is_one_row_and_one_record_without_personal_data(world: StsWorld, provider: IdentityProvider) -> None:
    since = len(world.ledger.entries)
    world.assume(token(world, provider, email="ada@example.com", name="Ada"))
    (row,) = world.rows("select kind, tier, purpose, scope, claims, attestation_seal from session")
    assert (row[0], row[1], row[2], row[3]) == ("identity", "none", "analytics", "[]")
    assert "ada" not in row[4].lower()
    assert len(row[5]) == 32
    (entry,) = world.ledger.entries[since:]
    assert (entry["type"], entry["evidence"], entry["issuer"], entry["tier"]) == ("session", "oidc", "ci", "none")
    assert entry["principal"] == world.guard.recorder.principal(world.analyst.principal_id)
    assert not {"ci", "ada@example.com", "job-1"} & {str(value) for name, value in entry.items() if name != "issuer"}


def test_renewing_goes_on_in_one_run(world: StsWorld, provider: IdentityProvider) -> None:
    """A job that renews must not shed what its last session read; another subject is another run."""
    first = world.assume(token(world, provider), RoleSessionName="botocore-session-1")
    again = world.assume(token(world, provider), RoleSessionName="botocore-session-2")
    assert first.credentials["AccessKeyId"] != again.credentials["AccessKeyId"]
    runs = {row[0] for row in world.rows("select run_id from session")}
    assert len(runs) == 1


def test_credentials_end_when_they_say_so(world: StsWorld, provider: IdentityProvider) -> None:
    world.build(world.put("a.csv", CSV))
    assert world.assume(token(world, provider), DurationSeconds="900").credentials["Expiration"].timestamp() == (
        world.now + 900
    )
    credentials = world.assume(token(world, provider)).credentials
    world.clock.advance(3_599_000)  # long after an attestation would have lapsed
    world.open_zone()  # observed again, as every minute
    assert world.get(credentials, "claims/a.csv").status == 200
    world.clock.advance(1_000)
    assert world.get(credentials, "claims/a.csv").code == "ExpiredToken"
    assert world.get(world.assume(token(world, provider)).credentials, "claims/a.csv").body == MASKED


def test_ended_sessions_are_forgotten_and_attested_ones_are_not(world: StsWorld, provider: IdentityProvider) -> None:
    world.attested()
    world.assume(token(world, provider))
    world.clock.advance(3_600_000)
    world.assume(token(world, provider))
    assert world.catalog.forget_identity_sessions(world.clock() + 1) == 1
    assert sorted(row[0] for row in world.rows("select kind from session")) == ["attested", "identity"]


# --- identity is not attestation


LIES: list[dict[str, Any]] = [
    {},
    {"kind": "snp", "hardware": True, "synthetic_only": False, "tier": "affirming", "tee": "sev-snp"},
    {"session": {"kind": "attested", "tier": "affirming"}, "scope": ["claims"], "measurement": "00" * 48},
    {"x-ms-isolation-tee": {"x-ms-attestation-type": "sevsnpvm"}, "eat_nonce": "ab" * 32},
    {"roles": ["steward"], "principal": "steward", "purpose": "stewardship", "purposes": ["stewardship"]},
]


@pytest.mark.parametrize("lie", range(len(LIES)))
def test_raw_is_refused_whatever_a_token_claims(world: StsWorld, provider: IdentityProvider, lie: int) -> None:
    world.build(world.put("a.csv", CSV))
    masked = world.assume(token(world, provider, **LIES[lie])).credentials
    assert world.get(masked, "claims/a.csv").body == MASKED
    training = world.assume(token(world, provider, sub="train", **LIES[lie]), RoleArn=TRAINING).credentials
    opened = world.raw_opened()
    refused = world.get(training, "claims/a.csv")
    assert (refused.status, refused.code) == (403, "AccessDenied")
    assert "attestation.required" in refused.body.decode()
    assert b"Lovelace" not in refused.body
    raw = world.request(masked, "GET", "/claims/a.csv", headers=[("x-demesne-view", "raw")])
    assert b"Lovelace" not in raw.body
    assert world.raw_opened() == opened


def test_a_row_that_was_edited_to_look_attested_opens_nothing_raw(world: StsWorld, provider: IdentityProvider) -> None:
    """Whoever can write the catalog: kind, tier and claims say hardware. The sealed token still says identity."""
    world.build(world.put("a.csv", CSV))
    training = world.assume(token(world, provider, sub="train"), RoleArn=TRAINING).credentials
    world.sql(
        "update session set kind = 'attested', tier = 'affirming', scope = '[\"claims\"]', claims = ?",
        '{"kind":"snp","hardware":true,"synthetic_only":false,"tee":"sev-snp","measurement":"00"}',
    )
    world.clock.advance(6_000)
    opened = world.raw_opened()
    refused = world.get(training, "claims/a.csv")
    assert (refused.status, b"Lovelace" in refused.body, world.raw_opened()) == (403, False, opened)


def test_a_write_for_training_needs_an_attested_session(world: StsWorld, provider: IdentityProvider) -> None:
    training = world.assume(token(world, provider, sub="train"), RoleArn=TRAINING).credentials
    with world.unchanged("session"):
        answer = world.request(training, "PUT", "/claims/model.bin", body=b"weights")
    assert (answer.status, answer.code) == (403, "AccessDenied")


def test_a_purpose_must_be_the_rules_and_the_principals(world: StsWorld) -> None:
    """The file cannot give a principal more than it has, nor a principal a subject more than the file names."""
    both, purposes = IdentityProvider(), ["analytics", "claims-risk-model"]
    world.catalog.create_principal("both", "workload", ["trainer"], "de", purposes, "0" * 32)
    for principal, named in (("both", ["analytics"]), ("analyst", purposes)):
        world.trusts(both.issuer(subjects=[{"subject": "ci", "principal": principal, "purposes": named}]))
        answer = world.assume(token(world, both), RoleArn=TRAINING)
        assert (answer.code, "identity.purpose" in answer.message, sessions(world)) == ("AccessDenied", True, 0)
    world.trusts(both.issuer(subjects=[{"subject": "ci", "principal": "both", "purposes": purposes}]))
    assert world.assume(token(world, both), RoleArn=TRAINING).status == 200


def test_a_name_that_two_principals_have_is_nobodys(world: StsWorld, provider: IdentityProvider) -> None:
    """A steward could otherwise make a second `analyst` with other roles and wait for the next token."""
    world.person("analyst", "analytics", "steward")
    answer = world.assume(token(world, provider))
    assert (answer.code, sessions(world)) == ("AccessDenied", 0)


# --- what is refused, and what becomes of it


def refused(world: StsWorld, answer: Asked, code: str, rule: str, *, recorded: bool) -> None:
    assert (answer.code, sessions(world)) == (code, 0), answer.parsed
    assert rule in answer.message
    assert ("Credentials" in answer.parsed) is False
    entries = world.entries("session")
    assert len(entries) == (1 if recorded else 0)
    assert len(world.unauthenticated) == (0 if recorded else 1)
    if recorded:
        assert (entries[0]["allow"], entries[0]["codes"], entries[0]["issuer"]) == (False, [rule], "ci")


ISSUERS_WORD = [
    ({"exp": 1_000}, {}, "ExpiredTokenException", "identity.expired"),
    ({"nbf": 9_000_000_000}, {}, "IDPRejectedClaim", "identity.not-yet"),
    ({"aud": "other"}, {}, "InvalidIdentityToken", "identity.audience"),
    ({"sub": "stranger"}, {}, "AccessDenied", "identity.mapping"),
    ({"sub": None}, {}, "IDPRejectedClaim", "identity.subject"),
    ({"sub": "ghost"}, {}, "AccessDenied", "identity.purpose"),
    ({}, {"RoleArn": TRAINING}, "AccessDenied", "identity.purpose"),
    ({}, {"RoleArn": ROLE.replace("analytics", "stewardship")}, "AccessDenied", "identity.purpose"),
    ({}, {"RoleArn": ROLE.replace("main", "other")}, "AccessDenied", "identity.purpose"),
    ({}, {"RoleArn": ROLE + "/"}, "AccessDenied", "identity.purpose"),
    ({}, {"RoleArn": ROLE + " "}, "AccessDenied", "identity.purpose"),
    ({}, {"DurationSeconds": "3601"}, "ValidationError", "identity.duration"),
]


@pytest.mark.parametrize(("claims", "parameters", "code", "rule"), ISSUERS_WORD, ids=lambda one: str(one)[:40])
def test_a_refusal_of_an_issuers_own_token_is_one_record(
    world: StsWorld,
    provider: IdentityProvider,
    claims: dict[str, Any],
    parameters: dict[str, Any],
    code: str,
    rule: str,
) -> None:
    refused(world, world.assume(token(world, provider, **claims), **parameters), code, rule, recorded=True)


def test_garbage_is_counted_and_never_recorded(world: StsWorld, provider: IdentityProvider) -> None:
    honest = token(world, provider)
    refused(world, world.assume(honest[:-4] + "AAAA"), "InvalidIdentityToken", "identity.signature", recorded=False)
    stranger = IdentityProvider("https://elsewhere.example", generation=1)
    for bad in ("....", "not.a.token", "x" * 20_000, stranger.token(stranger.claims(world.now))):
        assert world.assume(bad).code == "InvalidIdentityToken"
    assert world.entries("session") == []
    assert len(world.unauthenticated) == 5
    assert set(world.unauthenticated) == {"sts.identity.signature", "sts.identity.malformed", "sts.identity.issuer"}


def test_strangers_of_a_public_issuer_cannot_fill_the_ledger(tmp_path: Path) -> None:
    """Anybody with an account there has its signature. Who is mapped goes on undisturbed."""
    world = StsWorld(tmp_path, refusals=5)
    provider = IdentityProvider()
    world.trusts(provider.issuer(subjects=BOTH))
    codes = [world.assume(token(world, provider, sub=f"stranger-{number}")).code for number in range(20)]
    assert codes == ["AccessDenied"] * 5 + ["SlowDown"] * 15
    assert len(world.entries("session")) == 5
    assert world.limit.take() == {"issuer/ci": 15}
    assert world.assume(token(world, provider)).status == 200
    world.close()


def test_a_mapped_identity_has_a_limit_of_its_own(tmp_path: Path) -> None:
    world = StsWorld(tmp_path, refusals=3)
    provider = IdentityProvider()
    world.trusts(provider.issuer(subjects=BOTH))
    codes = [world.assume(token(world, provider), RoleArn=TRAINING).code for _ in range(6)]
    assert codes == ["AccessDenied"] * 3 + ["SlowDown"] * 3
    assert world.assume(token(world, provider, sub="train"), RoleArn=TRAINING).status == 200
    world.close()


def test_without_a_ledger_nothing_is_issued_and_nothing_is_said(world: StsWorld, provider: IdentityProvider) -> None:
    world.ledger.fault = ledger_down
    for claims in ({}, {"sub": "stranger"}):
        answer = world.assume(token(world, provider, **claims))
        assert (answer.status, answer.code) == (503, "ServiceUnavailable")
        assert answer.response.headers["retry-after"]
    assert sessions(world) == 0


def test_nobody_is_trusted_without_a_file_or_after_its_end(world: StsWorld, provider: IdentityProvider) -> None:
    world.trusts(provider.issuer(), expires="2026-09-21T00:00:00Z")
    assert world.assume(token(world, provider)).code == "InvalidIdentityToken"
    world.trusts(provider.issuer())
    assert world.assume(token(world, provider)).status == 200
    world.trusts()
    assert world.assume(token(world, provider)).code == "InvalidIdentityToken"


# --- revocation


def test_a_revoked_session_reads_nothing_more(world: StsWorld, provider: IdentityProvider) -> None:
    world.build(world.put("a.csv", CSV))
    credentials = world.assume(token(world, provider)).credentials
    assert world.get(credentials, "claims/a.csv").status == 200
    session_id = credentials["AccessKeyId"].removeprefix("DSES").lower()
    world.run(world.sessions.revoke(world.steward, session_id))
    for path in ("claims/a.csv", "claims?list-type=2", ""):
        read = world.get(credentials, path)
        assert (read.status, MASKED in read.body) == (403, False), path
        assert "session.revoked" in read.body.decode()


def test_a_revoked_principal_is_out_and_gets_no_new_session(world: StsWorld, provider: IdentityProvider) -> None:
    world.build(world.put("a.csv", CSV))
    credentials = world.assume(token(world, provider)).credentials
    other = world.assume(token(world, provider, sub="train"), RoleArn=TRAINING)
    assert other.status == 200
    world.catalog.add_revocation(
        "subject", value_digest(world.analyst.principal_id), reason="left", by_principal=world.steward.principal_id
    )
    world.clock.advance(6_000)
    assert "session.revoked" in world.get(credentials, "claims/a.csv").body.decode()
    answer = world.assume(token(world, provider))
    assert (answer.code, "identity.revoked" in answer.message) == ("AccessDenied", True)
    assert "session.revoked" not in world.get(other.credentials, "claims/a.csv").body.decode()
    assert world.assume(token(world, provider, sub="train"), RoleArn=TRAINING).status == 200


def test_a_person_may_be_a_steward_by_a_token(world: StsWorld) -> None:
    """What the role and purpose allow with a static key they allow here: registering and writing, and nothing raw."""
    provider = IdentityProvider()
    world.trusts(provider.issuer(subjects=[{"subject": "ci", "principal": "steward", "purposes": ["stewardship"]}]))
    credentials = world.assume(token(world, provider), RoleArn=ROLE.replace("analytics", "stewardship")).credentials
    world.clock.advance(1_000_000)
    world.open_zone()
    assert world.request(credentials, "PUT", "/claims/b.csv", body=CSV).status == 200
    head = world.request(credentials, "HEAD", "/claims/b.csv")
    assert (head.status, head.headers["content-length"]) == (200, str(len(CSV)))
    other = world.put("c.csv", CSV)
    assert other.written_by == world.steward.principal_id
    assert world.request(credentials, "DELETE", "/claims/b.csv").status == 204


VIEW = MASKED * 100_000  # 7 MiB: several slabs


def test_a_long_stream_of_an_old_session_goes_on(world: StsWorld, provider: IdentityProvider) -> None:
    """Nothing of an identity lapses after 15 minutes, as an attestation does."""
    world.build(world.put("a.csv", CSV), VIEW)
    principal = caller(world, world.assume(token(world, provider)))
    answer = world.read(principal, "a.csv", after_slab=lambda _: world.clock.advance(1_000_000))
    assert answer.error is None
    assert answer.body == VIEW


def test_a_stream_ends_when_its_session_is_revoked(world: StsWorld, provider: IdentityProvider) -> None:
    world.build(world.put("a.csv", CSV), VIEW)
    principal = caller(world, world.assume(token(world, provider)))

    def revoke(slab: int) -> None:
        if slab == 1:
            world.catalog.revoke_session(principal.session.session_id)
            world.clock.advance(6_000)

    answer = world.read(principal, "a.csv", after_slab=revoke)
    assert answer.refusal.code == "ReattestationRequired"
    assert len(answer.body) < len(VIEW)


# --- the request


PARAMETERS: list[tuple[dict[str, Any], str]] = [
    ({"Action": None}, "MissingAction"),
    ({"Action": "GetCallerIdentity"}, "InvalidAction"),
    ({"Action": "AssumeRole"}, "InvalidAction"),
    ({"Version": None}, "InvalidAction"),
    ({"Version": "2006-03-01"}, "InvalidAction"),
    ({"RoleArn": None}, "ValidationError"),
    ({"RoleArn": "short"}, "ValidationError"),
    ({"RoleArn": "x" * 2049}, "ValidationError"),
    ({"RoleArn": "arn:demesne:iam::main:purpose/\x07analytics"}, "ValidationError"),
    ({"RoleSessionName": None}, "ValidationError"),
    ({"RoleSessionName": "a"}, "ValidationError"),
    ({"RoleSessionName": "a" * 65}, "ValidationError"),
    ({"RoleSessionName": "a b"}, "ValidationError"),
    ({"RoleSessionName": "<script>"}, "ValidationError"),
    ({"RoleSessionName": "jöb"}, "ValidationError"),
    ({"WebIdentityToken": None}, "ValidationError"),
    ({"WebIdentityToken": "abc"}, "ValidationError"),
    ({"WebIdentityToken": "x" * 20_001}, "ValidationError"),
    ({"DurationSeconds": "899"}, "ValidationError"),
    ({"DurationSeconds": "43201"}, "ValidationError"),
    ({"DurationSeconds": ""}, "ValidationError"),
    ({"DurationSeconds": "1e3"}, "ValidationError"),
    ({"DurationSeconds": "-3600"}, "ValidationError"),
    ({"DurationSeconds": "９００"}, "ValidationError"),
    ({"Policy": "{}"}, "MalformedPolicyDocument"),
    ({"Policy": ""}, "MalformedPolicyDocument"),
    ({"PolicyArns.member.1.arn": "arn:aws:iam::aws:policy/ReadOnlyAccess"}, "MalformedPolicyDocument"),
    ({"PolicyArns": ""}, "MalformedPolicyDocument"),
    ({"ProviderId": "graph.facebook.com"}, "ValidationError"),
    ({"MinimumSessionTokenSize": "4096"}, "ValidationError"),
    ({"Tags.member.1.Key": "a"}, "ValidationError"),
    ({"x": "1"}, "ValidationError"),
]


@pytest.mark.parametrize(("parameters", "code"), PARAMETERS, ids=lambda one: str(one)[:50])
def test_every_parameter(world: StsWorld, provider: IdentityProvider, parameters: dict[str, Any], code: str) -> None:
    answer = world.assume(token(world, provider), **parameters)
    assert (answer.code, answer.parsed["Error"]["Type"], sessions(world)) == (code, "Sender", 0)
    assert 400 <= answer.status < 500
    assert world.ledger.entries[-1]["type"] != "session"


def test_a_parameter_twice_is_refused(world: StsWorld, provider: IdentityProvider) -> None:
    """In the form, and once in the query and once in the form: which one would count?"""
    pairs = [
        ("Action", "AssumeRoleWithWebIdentity"), ("Version", "2011-06-15"), ("RoleArn", ROLE),
        ("RoleSessionName", "job"), ("WebIdentityToken", token(world, provider)),
    ]  # fmt: skip
    assert world.send("POST", [*pairs, ("RoleArn", TRAINING)]).code == "ValidationError"
    both = WireRequest(
        "POST", b"/", b"Action=AssumeRoleWithWebIdentity&Version=2011-06-15", [(b"host", HOST.encode())],
        b"Action=AssumeRoleWithWebIdentity",
    )  # fmt: skip
    assert world.asked(both).code == "ValidationError"
    assert sessions(world) == 0


def test_minio_py_posts_a_query(world: StsWorld, provider: IdentityProvider) -> None:
    from urllib.parse import urlencode

    query = urlencode({
        "Version": "2011-06-15", "Action": "AssumeRoleWithWebIdentity", "WebIdentityToken": token(world, provider),
        "RoleArn": ROLE, "RoleSessionName": "17000000000",
    }).encode()  # fmt: skip
    request = WireRequest("POST", b"/", query, [(b"host", HOST.encode()), (b"content-length", b"0")])
    assert world.asked(request).status == 200


def test_a_form_without_end_is_not_read_to_it(world: StsWorld) -> None:
    pairs = [("Action", "AssumeRoleWithWebIdentity"), ("WebIdentityToken", "x" * (70 << 10))]
    answer = world.send("POST", pairs)
    assert (answer.status, answer.code) == (413, "RequestEntityTooLarge")


def test_what_is_not_utf_8(world: StsWorld) -> None:
    head = [(b"host", HOST.encode()), (b"content-type", b"application/x-www-form-urlencoded")]
    for body in (b"Action=%ff", b"Action=%zz", b"\xff=\xff"):
        answer = world.asked(WireRequest("POST", b"/", b"", [*head, (b"content-length", b"%d" % len(body))], body))
        assert answer.status == 400
        assert answer.code in {"ValidationError", "MissingAction"}


def test_tokens_and_keys_travel_over_tls_only(world: StsWorld, provider: IdentityProvider) -> None:
    """From elsewhere than this machine over plain HTTP, nothing is even looked at."""
    pairs = [
        ("Action", "AssumeRoleWithWebIdentity"), ("Version", "2011-06-15"), ("RoleArn", ROLE),
        ("RoleSessionName", "job"), ("WebIdentityToken", token(world, provider)),
    ]  # fmt: skip
    answer = world.send("POST", pairs, client="192.0.2.7")
    assert (answer.code, "identity.plain-http" in answer.message) == ("AccessDenied", True)
    assert world.send("POST", pairs).status == 200


def test_answers_are_not_to_be_kept(world: StsWorld, provider: IdentityProvider) -> None:
    assert world.assume(token(world, provider)).response.headers["cache-control"] == "no-store"


def test_a_subject_cannot_write_the_answer(world: StsWorld) -> None:
    """A subject of an issuer of its own choosing: markup stays text."""
    provider = IdentityProvider()
    sub = "a</SubjectFromWebIdentityToken><x>&amp;\"'"
    world.trusts(provider.issuer(subjects=[{"subject": sub, "principal": "analyst", "purposes": ["analytics"]}]))
    assert world.assume(token(world, provider, sub=sub)).parsed["SubjectFromWebIdentityToken"] == sub


# --- what stays S3's


def test_s3_goes_on_as_before(world: StsWorld, provider: IdentityProvider) -> None:
    credentials = world.assume(token(world, provider)).credentials
    listed = world.get(credentials, "")
    assert (listed.status, b"<Name>claims</Name>" in listed.body) == (200, True)
    form = [(b"host", HOST.encode()), (b"content-type", b"application/x-www-form-urlencoded")]
    for path, host in ((b"/claims", HOST), (b"/claims/a", HOST), (b"/", f"claims.{HOST}")):
        headers = [(b"host", host.encode()), form[1], (b"content-length", b"8")]
        answer = world.run(call(world.app, WireRequest("POST", path, b"", headers, b"Action=x")))
        assert b"sts.amazonaws.com" not in answer.body
        assert answer.status in {400, 403}
    signed_list = signed(
        "GET", "/?prefix=c", key=credentials["AccessKeyId"], secret=credentials["SecretAccessKey"],
        token=credentials["SessionToken"], region="de", host=HOST,
    )  # fmt: skip
    assert world.run(call(world.app, signed_list)).status == 200


def test_other_calls_of_sts_hear_that_there_are_none(world: StsWorld) -> None:
    """`aws sts get-caller-identity` against this endpoint is signed, and is answered in STS's form."""
    answer = world.send("POST", [("Action", "GetCallerIdentity"), ("Version", "2011-06-15")])
    assert (answer.status, answer.code) == (400, "InvalidAction")
    assert answer.response.body.startswith(b'<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">')


def test_credentials_of_one_session_do_not_open_another(world: StsWorld, provider: IdentityProvider) -> None:
    one = world.assume(token(world, provider)).credentials
    two = world.assume(token(world, provider, sub="train"), RoleArn=TRAINING).credentials
    mixed = one | {"SessionToken": two["SessionToken"]}
    assert world.get(mixed, "").code == "InvalidToken"
    assert world.get(one | {"SecretAccessKey": two["SecretAccessKey"]}, "").code == "SignatureDoesNotMatch"


# --- from identity to attestation


def caller(world: StsWorld, answer: Asked) -> Any:
    """The principal that these credentials authenticate."""
    made = answer.credentials
    request = signed(
        "GET", "/", key=made["AccessKeyId"], secret=made["SecretAccessKey"], token=made["SessionToken"], region="de",
        host=HOST,
    )  # fmt: skip
    return world.run(world.verifier.authenticate(request.head())).principal


def opens(world: StsWorld, principal: Any, purpose: str) -> Any:
    """One attested session by this caller, with sample evidence bound to its challenge."""
    challenge = world.run(world.sessions.challenge(principal, purpose, ["claims"], "req"))
    bound = ExpectedBinding(challenge["nonce"], GATEWAY, key_thumbprint(world.jwk), purpose, ("claims",))
    return world.run(world.sessions.open(
        principal, nonce=challenge["nonce"], kind="sample", evidence=sample_evidence(bound), key=world.jwk,
        purpose=purpose, scope=["claims"], run=None, request_id="req",
    ))  # fmt: skip


def test_an_identity_session_may_attest(world: StsWorld, provider: IdentityProvider) -> None:
    """D8: who runs is told by the token, what it runs on by the evidence; raw needs both."""
    principal = caller(world, world.assume(token(world, provider, sub="train"), RoleArn=TRAINING))
    assert principal.session.kind == "identity"
    opened = opens(world, principal, "claims-risk-model")
    row = world.catalog.session(opened.session_id)
    assert (row.kind, row.tier, row.principal_id) == ("attested", "warning", world.trainer.principal_id)


def test_an_attested_session_still_opens_no_other(world: StsWorld, provider: IdentityProvider) -> None:
    with pytest.raises(Denied, match="session") as caught:
        opens(world, world.attested(scope=("open-data",)), "claims-risk-model")
    assert caught.value.rule == "session.from-session"


def test_an_identity_session_attests_for_what_its_entry_names_only(world: StsWorld, provider: IdentityProvider) -> None:
    """The principal may train; this subject of it may only look. A second rule of the file must not be climbed over."""
    row = world.catalog.create_principal(
        "both", "workload", ["trainer", "analyst"], "de", ["analytics", "claims-risk-model"], "0" * 32
    )
    world.trusts(provider.issuer(subjects=[{"subject": "ci", "principal": "both", "purposes": ["analytics"]}]))
    principal = caller(world, world.assume(token(world, provider)))
    assert principal.principal_id == row.principal_id
    with pytest.raises(Denied) as caught:
        opens(world, principal, "claims-risk-model")
    assert caught.value.rule == "session.from-session"
    world.sql('update session set claims = replace(claims, \'["analytics"]\', \'["analytics","claims-risk-model"]\')')
    with pytest.raises(Denied) as caught:  # nor by whoever edits the row
        opens(world, principal, "claims-risk-model")
    assert caught.value.rule == "session.from-session"


def test_a_revoked_identity_session_attests_for_nothing(world: StsWorld, provider: IdentityProvider) -> None:
    principal = caller(world, world.assume(token(world, provider, sub="train"), RoleArn=TRAINING))
    world.catalog.revoke_session(principal.session.session_id)
    world.clock.advance(6_000)
    with pytest.raises(Denied):
        opens(world, principal, "claims-risk-model")


def test_keys_that_somebody_wrote_into_the_catalog_open_nothing(world: StsWorld) -> None:
    """Who can write the catalog publishes a key of his own for an issuer whose keys are fetched."""
    thief = IdentityProvider()
    world.trusts(thief.issuer(jwks=None, jwks_url="https://id.example/keys"))
    (issuer,) = world.issuers().all()
    world.catalog.may_fetch_issuer_keys(row_name(issuer))
    world.sql("update jwks set document = ?, fetched_at = ?", json.dumps(thief.jwks), world.clock())
    answer = world.assume(token(world, thief))
    assert answer.status in {403, 503}
    assert (answer.code, sessions(world)) == ("AccessDenied" if answer.status == 403 else "ServiceUnavailable", 0)
