"""What is encrypted to a key is opened by that key, with another library, and by nothing else."""

import pytest

from tests.fakes.attest_kbs import TeeKeyPair
from vault.attest.kbs.keys import load_tee_key
from vault.keys.jwe import encrypt_flattened


@pytest.mark.parametrize("kind", ["P-256", "P-521", "RSA"])
def test_another_library_opens_it(kind: str) -> None:
    pair = TeeKeyPair(kind)
    sealed = encrypt_flattened(load_tee_key(pair.jwk), b"credentials")
    assert pair.opened(sealed) == b"credentials"
    with pytest.raises(Exception):  # noqa: B017 - whatever the library calls it
        TeeKeyPair(kind).opened(sealed)


def test_no_two_are_alike_and_no_bit_may_change() -> None:
    pair = TeeKeyPair()
    first, second = (encrypt_flattened(load_tee_key(pair.jwk), b"credentials") for _ in range(2))
    assert all(first[name] != second[name] for name in first)
    for name in ("encrypted_key", "iv", "ciphertext", "tag"):
        changed = first | {name: ("B" if first[name][0] == "A" else "A") + first[name][1:]}
        with pytest.raises(Exception):  # noqa: B017
            pair.opened(changed)
