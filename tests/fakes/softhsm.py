"""A software HSM for tests: SoftHSM2 with a directory and a configuration of its own, one token for each key class."""

import os
import secrets
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from vault.keys.provider import KeyClass

_MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
)


def softhsm_module() -> Path | None:
    if shutil.which("softhsm2-util") is None:
        return None
    return next((Path(path) for path in _MODULES if Path(path).exists()), None)


@dataclass
class SoftHsm:
    """`configuration` is what SOFTHSM2_CONF has to name where the module is loaded."""

    module: Path
    configuration: Path
    tokens: Path
    labels: dict[KeyClass, str] = field(default_factory=dict)
    pins: dict[KeyClass, Path] = field(default_factory=dict)

    def make_token(self, label: str, pin: str) -> None:
        subprocess.run(
            ["softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", secrets.token_hex(8),
             "--pin", pin],
            env={**os.environ, "SOFTHSM2_CONF": str(self.configuration)}, check=True, capture_output=True,
        )  # fmt: skip


def softhsm(directory: Path, *, suffix: str = "") -> SoftHsm:
    """Two tokens `demesne-raw…` and `demesne-view…`, each with a PIN of its own in a file."""
    module = softhsm_module()
    assert module is not None, "softhsm2 is not installed"
    tokens = directory / "tokens"
    tokens.mkdir(parents=True, exist_ok=True)
    configuration = directory / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
    hsm = SoftHsm(module, configuration, tokens)
    for key_class in KeyClass:
        add_token(hsm, key_class, suffix)
    return hsm


def add_token(hsm: SoftHsm, key_class: KeyClass, suffix: str = "") -> None:
    hsm.labels[key_class] = f"demesne-{key_class}{suffix}"
    hsm.pins[key_class] = hsm.configuration.parent / f"{key_class}{suffix}.pin"
    pin = secrets.token_hex(8)
    hsm.pins[key_class].write_text(pin + "\n")
    hsm.make_token(hsm.labels[key_class], pin)
