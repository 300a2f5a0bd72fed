"""HTTP for the MinIO library: dialled connections, bounded silence, failures by the port's names."""

import contextlib
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3 import PoolManager, Retry, Timeout
from urllib3.exceptions import HTTPError
from urllib3.util.ssl_ import create_urllib3_context

from vault.endpoint.dialer import Dialer
from vault.endpoint.pace import Paced
from vault.endpoint.pools import dialled_pools
from vault.errors import Unavailable
from vault.store.s3 import CONNECT_SECONDS, named_failure

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@contextlib.contextmanager
def translated(key: str) -> Iterator[None]:
    try:
        yield
    except S3Error as error:
        raise named_failure(error.code, error.response.status, key) from error
    except (ServerError, InvalidResponseError) as error:
        raise Unavailable("store.io", f"{key}: {type(error).__name__}") from error
    except (ET.ParseError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise Unavailable("store.io", f"{key}: {type(error).__name__} in the answer") from error
    except (MinioException, HTTPError) as error:
        raise Unavailable("store.unreachable", f"{key}: {type(error).__name__}") from error


class Direct(PoolManager):
    """Dialled connections; a redirect is a failure, an answer must keep coming."""

    def __init__(self, dialer: Dialer, ca: str | None, silence: float, attempts: int) -> None:
        context = create_urllib3_context()
        if ca is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(ca)
        retries = Retry(
            total=attempts - 1, connect=0, redirect=False, backoff_factor=0.2, status_forcelist=(500, 502, 503, 504),
            raise_on_status=False, allowed_methods=None,
        )  # fmt: skip
        super().__init__(
            timeout=Timeout(connect=CONNECT_SECONDS, read=silence), maxsize=64, retries=retries, ssl_context=context
        )
        self.pool_classes_by_scheme = dialled_pools(dialer)
        self._dialer = dialer

    def urlopen(  # type: ignore[override]
        self, method: str, url: str, redirect: bool = True, **options: Any,  # noqa: ARG002
    ) -> Any:  # fmt: skip
        """`redirect` is what the caller would like, and is not asked."""
        answer = super().urlopen(method, url, redirect=False, **options)
        if answer.status in _REDIRECTS:
            answer.close()
            raise self._dialer.redirected(answer.status)
        return answer


class PacedBody:
    def __init__(self, answer: Any, key: str) -> None:
        self._answer = answer
        self._paced = Paced(answer, "store")
        self._key = key

    def read(self, amount: int) -> bytes:
        with translated(self._key):
            return self._paced.read(amount)

    def close(self) -> None:
        self._answer.close()
        self._answer.release_conn()
