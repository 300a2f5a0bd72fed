"""TPM 2.0 quotes: integrity of a boot, never secrecy of memory."""
