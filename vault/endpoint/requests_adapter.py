"""A requests session that goes nowhere but where its `Dialer` lets it.

    session.mount("https://", DialledAdapter(dialer)); session.mount("http://", DialledAdapter(dialer))
"""

from typing import Any, NoReturn

from requests.adapters import HTTPAdapter

from vault.endpoint.dialer import Dialer
from vault.endpoint.pools import dialled_pools


class DialledAdapter(HTTPAdapter):
    """requests' own adapter over dialled connections: no retry, no proxy. Redirects are the session's to refuse."""

    def __init__(self, dialer: Dialer, *, connections: int = 16) -> None:
        self._dialer = dialer
        super().__init__(max_retries=0, pool_maxsize=connections)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        manager: Any = vars(self)["poolmanager"]
        manager.pool_classes_by_scheme = dialled_pools(self._dialer)

    def proxy_manager_for(self, *_arguments: Any, **_options: Any) -> NoReturn:
        """A proxy would resolve and connect in our stead. Raises Unavailable."""
        raise self._dialer.proxied()
