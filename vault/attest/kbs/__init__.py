"""Evidence as Trustee's clients send it (key-broker protocol 0.4.0), turned into what our verifiers take."""
