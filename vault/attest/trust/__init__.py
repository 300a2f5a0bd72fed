"""What a zone trusts: files with a schema and an expiry, read strictly and again when they change."""
