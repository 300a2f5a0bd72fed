"""Demesne: attest once, then any S3 client just works.

    import demesne
    with demesne.attest(purpose="claims-risk-model") as session:
        pandas.read_parquet("s3://claims/part-0.parquet")

This list is the public interface; everything else may move.
"""

from demesne.attest import attest
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
    Unavailable,
)
from demesne.session import Session
from demesne.settings import Settings, Zone

__version__ = "0.1.0"

__all__ = [
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
    "Session",
    "Settings",
    "Unavailable",
    "Zone",
    "attest",
]
