"""Intel TDX quotes: layout, Intel's certificates and collateral, TCB levels, event logs, and the checks in order."""
