"""AMD SEV-SNP attestation reports: layout, the chip's certificate, and the checks in their order."""
