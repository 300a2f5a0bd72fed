"""What every table of the catalog shares: one metadata, the tenant first in each key, the seal of a row."""

from sqlalchemy import Column, LargeBinary, MetaData, String

metadata = MetaData()


def tenant_column() -> Column[str]:
    return Column("tenant", String(63), primary_key=True)


def seal_columns() -> tuple[Column[str], Column[bytes]]:
    return Column("record", String(64), nullable=False), Column("row_mac", LargeBinary, nullable=False)
