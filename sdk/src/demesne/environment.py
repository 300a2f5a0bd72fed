"""The process environment while sessions are entered: the innermost one's variables, and what stood there before.

Sessions may nest, and may end in any order: what shows is always the last one entered that is still open. Variables
that would win over the container-credentials endpoint in some client (static keys, profiles, web identity) are taken
out meanwhile: they are the principal's own, and a job that used them would read masked rows and wonder.
"""

import os
import threading
from collections.abc import Mapping, MutableMapping

# AWS sdkref, "credential provider chain": all that clients look at before the container endpoint.
MISLEADING = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
)  # fmt: skip


class Overlays:
    """Layers over one environment. Thread-safe; a layer is known by the object that entered it."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self._environ = environ
        self._lock = threading.Lock()
        self._layers: list[tuple[object, dict[str, str | None]]] = []
        self._before: dict[str, str | None] = {}

    def enter(self, who: object, values: Mapping[str, str]) -> None:
        """Show `values` and hide what misleads, until `leave(who)`."""
        with self._lock:
            layer: dict[str, str | None] = dict.fromkeys(MISLEADING) | dict(values)
            for name in layer:
                if name not in self._before:
                    self._before[name] = self._environ.get(name)
            self._layers.append((who, layer))
            self._show()

    def leave(self, who: object) -> None:
        """Take the layer away. One that was never entered, or has left, is no error."""
        with self._lock:
            kept = [layer for layer in self._layers if layer[0] is not who]
            if len(kept) != len(self._layers):
                self._layers = kept
                self._show()

    def _show(self) -> None:
        """The environment as it was, and over it the topmost layer."""
        shown = self._before | (self._layers[-1][1] if self._layers else {})
        for name, value in shown.items():
            if value is None:
                self._environ.pop(name, None)
            else:
                self._environ[name] = value
        if not self._layers:
            self._before = {}

    def after_fork(self) -> None:
        """In the child: the lock may have been held by a thread that is not here."""
        self._lock = threading.Lock()

    def beneath(self) -> dict[str, str]:
        """The environment as it is without any session: where a nested session's own principal is found.

        Keys that the program itself set meanwhile stand: it meant them.
        """
        with self._lock:
            own = {name: self._environ[name] for name in MISLEADING if name in self._environ}
            known: dict[str, str | None] = {**self._environ, **self._before, **own}
            return {name: value for name, value in known.items() if value is not None}


OVERLAYS = Overlays(os.environ)
"""The one environment a process has, and so the one list of who changed it."""
