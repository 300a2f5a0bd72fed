"""Makers' collateral: taken in, shown and renewed. Verifiers only read what this package has put in place."""
