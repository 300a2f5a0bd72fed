"""A boto3 client that goes nowhere but where its `Dialer` lets it: no proxy from the environment, no redirect.

    client = session.client("s3", endpoint_url=…, config=config.merge(DIRECT), verify=…)
    send_through(client, dialer, verify=…, timeout=…, connections=…)
"""

from typing import Any

from botocore.awsrequest import AWSHTTPConnectionPool, AWSHTTPSConnectionPool
from botocore.config import Config
from botocore.exceptions import HTTPClientError
from botocore.httpsession import URLLib3Session

from vault.endpoint.dialer import Dialer
from vault.endpoint.pace import Paced
from vault.endpoint.pools import dialled_pools
from vault.errors import VaultError

DIRECT = Config(proxies={})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class DialledSession(URLLib3Session):
    """botocore's own session over dialled connections."""

    def __init__(self, dialer: Dialer, **options: Any) -> None:
        super().__init__(proxies={}, **options)
        self._dialer = dialer
        manager: Any = vars(self)["_manager"]
        manager.pool_classes_by_scheme = dialled_pools(dialer, AWSHTTPConnectionPool, AWSHTTPSConnectionPool)

    def send(self, request: Any) -> Any:
        """As the parent. Raises Unavailable as the dialer names it: botocore would wrap it, and try again."""
        try:
            answer = super().send(request)
        except HTTPClientError as error:
            cause = error.kwargs.get("error")
            if isinstance(cause, VaultError):
                raise cause from cause.__cause__
            raise
        if answer.status_code in _REDIRECTS:
            answer.raw.close()
            raise self._dialer.redirected(answer.status_code)
        if request.stream_output:
            answer.raw = Paced(answer.raw, self._dialer.what)
        return answer


def send_through(
    client: Any, dialer: Dialer, *, verify: bool | str, timeout: tuple[float, float], connections: int
) -> DialledSession:
    """Every request of `client` leaves by the session that is returned. `timeout`: connect, read; seconds."""
    session = DialledSession(dialer, verify=verify, timeout=timeout, max_pool_connections=connections)

    def send(request: Any, **_: Any) -> Any:
        return session.send(request)

    def stay(params: Any, context: Any, **_: Any) -> None:
        # "The bucket is in another region" would be followed by signing for that one: it is an error here.
        context.setdefault("s3_redirect", {"bucket": None, "params": params})["redirected"] = True

    service = client.meta.service_model.service_id.hyphenize()
    client.meta.events.register(f"before-send.{service}", send)
    client.meta.events.register_last(f"before-parameter-build.{service}", stay)
    return session
