"""Which failures of a connection are about whom it was made to, and which only about the line."""

import ssl

from vault.errors import Unavailable


def is_certificate_failure(error: BaseException) -> bool:
    """Whether a certificate was shown and not accepted. Clients wrap that in errors of their own, as cause or argument;
    an end in the middle of a handshake is a lost connection, which may be tried again."""
    seen: set[int] = set()
    look: list[object] = [error]
    while look:
        each = look.pop()
        if isinstance(each, ssl.SSLCertVerificationError):
            return True
        if isinstance(each, BaseException) and id(each) not in seen:
            seen.add(id(each))
            look += [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]
    return False


def of_the_line(error: Unavailable) -> Unavailable:
    """The dialer's word for an address that does not answer, as a provider's failures are named; others as they are."""
    if error.reason != "provider.unreachable":
        return error
    reason = "provider.timeout" if isinstance(error.__cause__, TimeoutError) else "provider.connection"
    return Unavailable(reason, error.detail)
