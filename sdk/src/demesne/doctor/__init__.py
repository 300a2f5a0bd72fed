"""What keeps S3 clients of this machine from their session, found before a job runs into it (docs/clients.md)."""
