"""Types without memory: what a column's type is once every encoding that can carry hidden values is undone.

A dictionary keeps values no row uses any more; view and run-end encodings share buffers with other rows
(anchor measurement: 2000 of 2000 e-mails survive a ten-row filter of a dictionary column).
"""

import pyarrow as pa
import pyarrow.compute as pc

from gateway.enforce.errors import Undecodable

_MAX_DEPTH = 32


def plain_type(kind: pa.DataType, depth: int = 0) -> pa.DataType:
    """`kind` with dictionaries, views, run ends and extensions undone, at every level, metadata removed.

    Raises Undecodable("parquet.unsupported") for unions and for nesting deeper than 32.
    """
    if depth > _MAX_DEPTH:
        raise Undecodable("parquet.unsupported")
    types = pa.types
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return plain_type(kind.value_type, depth + 1)
    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type, depth + 1)
    if types.is_string_view(kind):
        return pa.string()
    if types.is_binary_view(kind):
        return pa.binary()
    if not types.is_nested(kind):
        return kind
    return _plain_nested(kind, depth + 1)


def _plain_nested(kind: pa.DataType, depth: int) -> pa.DataType:
    types = pa.types
    if types.is_struct(kind):
        return pa.struct([plain_field(kind.field(i), depth) for i in range(kind.num_fields)])
    if types.is_map(kind):
        return pa.map_(plain_field(kind.key_field, depth), plain_field(kind.item_field, depth))
    if types.is_fixed_size_list(kind):
        return pa.list_(plain_field(kind.value_field, depth), kind.list_size)
    if types.is_large_list(kind):
        return pa.large_list(plain_field(kind.value_field, depth))
    if types.is_list(kind):
        return pa.list_(plain_field(kind.value_field, depth))
    raise Undecodable("parquet.unsupported")


def plain_field(field: pa.Field, depth: int = 0) -> pa.Field:
    """A field of the plain type, same name and nullability, no metadata."""
    return pa.field(field.name, plain_type(field.type, depth), field.nullable)


def plain(array: pa.Array) -> pa.Array:
    """The same values in their plain type."""
    if isinstance(array.type, pa.BaseExtensionType):
        array = array.storage
    target = plain_type(array.type)
    if array.type == target:
        return array
    if pa.types.is_run_end_encoded(array.type):
        return plain(pc.run_end_decode(array))
    try:
        return pc.cast(array, target)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        raise Undecodable("parquet.unsupported") from None


def leaves(kind: pa.DataType) -> int:
    """How many Parquet leaf columns a type takes; for laying column chunks to top-level columns."""
    if isinstance(kind, pa.BaseExtensionType):
        return leaves(kind.storage_type)
    types = pa.types
    if types.is_dictionary(kind):
        return leaves(kind.value_type)
    if types.is_map(kind):
        return leaves(kind.key_type) + leaves(kind.item_type)
    if types.is_struct(kind):
        return sum(leaves(kind.field(i).type) for i in range(kind.num_fields))
    if types.is_nested(kind):
        return leaves(kind.value_type)
    return 1
