"""An aiobotocore session that takes credentials from a session's agent. Needs aiobotocore; imported only by who asks.

It can be pickled (spawned data-loader workers, Ray), and its repr names the agent: fsspec keeps filesystems by the
repr of their options, and two sessions must never share one.
"""

from typing import Any

from aiobotocore.credentials import (  # type: ignore[import-untyped, unused-ignore]
    AioContainerProvider,
    AioCredentialResolver,
)
from aiobotocore.session import AioSession  # type: ignore[import-untyped, unused-ignore]

from demesne.reach import Reach


class ReachSession(AioSession):  # type: ignore[misc, unused-ignore]
    """aiobotocore's session, its credentials from the agent only: no file and no variable can win over it."""

    def __init__(self, reach: Reach) -> None:
        super().__init__()
        self._reach = reach
        resolver = AioCredentialResolver([AioContainerProvider(environ=reach.env())])
        self.register_component("credential_provider", resolver)

    def __reduce__(self) -> tuple[Any, ...]:
        return ReachSession, (self._reach,)

    def __repr__(self) -> str:
        return f"ReachSession({self._reach!r})"
