"""Token files as kubelet and spiffe-helper keep them: exchanged, half written, stale, with a newline."""

import base64
import json
import os
from pathlib import Path

import pytest

from demesne.errors import Malformed, NotConfigured, Unavailable
from demesne.evidence.identity_tokens import TokenFile

NOW = 1_000_000.0


def jwt(exp: float | None = NOW + 600, **claims: object) -> str:
    def part(document: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()

    ends = {} if exp is None else {"exp": exp}
    return f"{part({'alg': 'RS256'})}.{part(claims | ends)}.c2ln"


def file_of(path: Path) -> TokenFile:
    return TokenFile(path, clock=lambda: NOW, sleep=lambda _: None)


def test_the_token_of_now_is_read_each_time_through_kubelets_links(tmp_path: Path) -> None:
    """..data is a link to a directory of one moment, exchanged in one step."""
    for moment, subject in (("..1", "a"), ("..2", "b")):
        (tmp_path / moment).mkdir()
        (tmp_path / moment / "demesne").write_text(jwt(sub=subject))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "demesne").symlink_to("..data/demesne")
    tokens = file_of(tmp_path / "demesne")
    assert tokens.token() == jwt(sub="a")
    (tmp_path / "..new").symlink_to("..2")
    os.replace(tmp_path / "..new", tmp_path / "..data")
    assert tokens.token() == jwt(sub="b")


def test_a_newline_at_the_end_is_no_part_of_the_token(tmp_path: Path) -> None:
    (tmp_path / "t").write_text(jwt() + "\n")
    assert file_of(tmp_path / "t").token() == jwt()


def test_a_half_written_token_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_text(jwt()[:9])

    def writes_on(_: float) -> None:
        path.write_text(jwt())

    assert TokenFile(path, clock=lambda: NOW, sleep=writes_on).token() == jwt()


@pytest.mark.parametrize("content", ["", "no token", "a.b", "a..c", "é.é.é", "a" * 20_000])
def test_what_is_no_token_is_said_so(tmp_path: Path, content: str) -> None:
    (tmp_path / "t").write_text(content)
    with pytest.raises(Malformed):
        file_of(tmp_path / "t").token()


@pytest.mark.parametrize("exp", [NOW - 5, NOW + 5])
def test_a_token_at_its_end_is_not_sent(tmp_path: Path, exp: float) -> None:
    (tmp_path / "t").write_text(jwt(exp))
    with pytest.raises(Unavailable, match="kubelet"):
        file_of(tmp_path / "t").token()


@pytest.mark.parametrize("token", [jwt(None), "e30.bm8.c2ln", "e30.!!!.c2ln"])
def test_a_token_without_an_end_is_malformed(tmp_path: Path, token: str) -> None:
    (tmp_path / "t").write_text(token)
    with pytest.raises(Malformed):
        file_of(tmp_path / "t").token()


def test_no_file_names_what_writes_it(tmp_path: Path) -> None:
    with pytest.raises(NotConfigured, match="spiffe-helper"):
        file_of(tmp_path / "absent").token()
