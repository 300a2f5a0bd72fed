"""Demesne: attest once, then any S3 client just works.

    import demesne
    with demesne.session(purpose="claims-risk-model"):
        pandas.read_parquet("s3://claims/part-0.parquet")

This list is the public interface, with the modules `demesne.aio` and `demesne.errors`; everything else may move.
"""

from demesne.attest import attest, session
from demesne.borrowed import Borrowed
from demesne.client import Client
from demesne.credentials import Credentials
from demesne.errors import (
    Conflict,
    DemesneError,
    Invalid,
    Malformed,
    NotConfigured,
    NotFound,
    ReattestationRequired,
    Refused,
    SessionClosed,
    Unavailable,
)
from demesne.run import Run
from demesne.session import Session
from demesne.settings import Settings, Zone

__version__ = "0.1.0"

__all__ = [
    "Borrowed",
    "Client",
    "Conflict",
    "Credentials",
    "DemesneError",
    "Invalid",
    "Malformed",
    "NotConfigured",
    "NotFound",
    "ReattestationRequired",
    "Refused",
    "Run",
    "Session",
    "SessionClosed",
    "Settings",
    "Unavailable",
    "Zone",
    "attest",
    "session",
]
