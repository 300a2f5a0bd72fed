"""The catalog's part in outliving itself: records in the store, rebuilding from them, names nothing knows."""

from vault.catalog.inspecting import Inspecting
from vault.catalog.rebuilding import Rebuilding
from vault.catalog.store_records import StoreRecordRows
from vault.catalog.unnamed import Unnamed


class Durability(StoreRecordRows, Rebuilding, Inspecting, Unnamed):
    """See the sections, one file each."""
