"""Which failures of a TLS connection are about whom it was made to, and which only about the line."""

import ssl


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
