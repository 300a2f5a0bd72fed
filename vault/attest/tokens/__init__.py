"""Attestation results that another verifier signed: tokens of pinned issuers, each kind with its own checks."""
