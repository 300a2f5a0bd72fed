"""The endpoint that Trustee's clients speak to (docs/spec/kbs.md): tickets, handshakes, the session as a resource."""
