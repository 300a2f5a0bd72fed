"""The processes of one zone, one file each: here, and only here, the parts are put together."""
