"""Which evidence a zone admits: its trust material and posture, as the verifiers of every kind."""
