"""Writes docs/settings.md from gateway/settings.py: `python -m tests.meta.settings_page > docs/settings.md`."""

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from gateway.settings import Settings

HEAD = """\
# Settings

Every setting of a zone's processes, read once from the environment by `gateway/settings.py`. All processes of a zone
get the same. `demesne dev` sets them for its embedded zones; `docker-compose.yml` shows a deployment.

A value that cannot work ends the process with exit code 2 and a line that names the variable. Variables of other names
are ignored. This page is generated (`python -m tests.meta.settings_page > docs/settings.md`); a test compares.

| variable | default | meaning |
|---|---|---|
"""


def page() -> str:
    return HEAD + "".join(row(name, field) for name, field in Settings.model_fields.items())


def row(name: str, field: FieldInfo) -> str:
    meaning = (field.description or "").replace("|", "\\|")
    return f"| `{variable(name)}` | {default(field)} | {meaning} |\n"


def variable(name: str) -> str:
    return f"DEMESNE_{name.upper()}"


def default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    return "none" if field.default in (None, "") else f"`{field.default}`"


if __name__ == "__main__":
    print(page(), end="")
