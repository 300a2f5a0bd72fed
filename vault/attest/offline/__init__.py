"""Evidence out of files, for a person or a test: the same verifiers, no broker, no session, nothing granted."""
