"""What authentication refuses with. One exception; the code names the reason, in S3's words where S3 has one."""

from gateway.errors import GatewayError

_STATUS = {
    "AccessDenied": 403,
    "AuthorizationHeaderMalformed": 400,
    "AuthorizationQueryParametersError": 400,
    "ExpiredToken": 400,
    "IncompleteBody": 400,
    "InvalidAccessKeyId": 403,
    "InvalidArgument": 400,
    "InvalidRequest": 400,
    "InvalidToken": 400,
    "InvalidURI": 400,
    "MalformedTrailerError": 400,
    "MissingContentLength": 411,
    "NotImplemented": 501,
    "RequestTimeTooSkewed": 403,
    "SignatureDoesNotMatch": 403,
    "XAmzContentSHA256Mismatch": 400,
}


class Unauthenticated(GatewayError):
    """The caller, or the bytes it sent, could not be verified. `region` tells a client which region to sign for."""

    def __init__(self, code: str, message: str, *, remedy: str | None = None, region: str | None = None) -> None:
        super().__init__(code, message, status=_STATUS[code], remedy=remedy)
        self.region = region
