"""Columns and statements of the staging and warehouse tables, generated from the specification of an endpoint.

A staging table has the stored columns of its endpoint, `row_hash` and `is_new`. The warehouse table also has `batch_id`
and `removed_at`. Its lists of ids are in a separate table.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import LiteralString

import polars as pl
from psycopg import sql

from core.endpoints import ENDPOINTS, Endpoint, EndpointSpecification, Kind

STAGING = "staging"
_WAREHOUSE = "warehouse"
_POSTGRES_TYPES: dict[Kind, LiteralString] = {
    "id": "bigint",
    "id_list": "bigint[]",
    "text": "text",
    "duration": "text",
    "time": "timestamptz",
}
_POLARS_TYPES: dict[Kind, pl.DataType] = {"id": pl.Int64(), "time": pl.Datetime("us")}


def staged_columns(endpoint: Endpoint) -> tuple[str, ...]:
    """The columns of the staging table, in order."""
    return tuple(_staged_types(ENDPOINTS[endpoint]))


def key_schema(endpoint: Endpoint) -> dict[str, pl.DataType]:
    """The key columns with their Polars types."""
    specification = ENDPOINTS[endpoint]
    return {name: _POLARS_TYPES[specification.field(name).kind] for name in specification.key}


def create_rows_table(endpoint: Endpoint, table: str) -> sql.Composed:
    """Create the staging table: one row per row of the batch that differs from the published one.

    If the warehouse numbers the rows, `new_ordinal` counts the new rows of the batch from 1; it is null in others.
    """
    return _create_table(table, _staged_types(ENDPOINTS[endpoint]))


def create_removed_table(endpoint: Endpoint, table: str) -> sql.Composed:
    """Create the table of keys: one row per published row that is missing in the batch."""
    specification = ENDPOINTS[endpoint]
    stored = _stored_types(specification)
    return _create_table(table, {name: stored[name] for name in specification.key})


def create_keys_table(endpoint: Endpoint, table: str) -> sql.Composed:
    """Create a temporary table of keys, which the end of the transaction drops."""
    specification = ENDPOINTS[endpoint]
    stored = _stored_types(specification)
    columns = sql.SQL(", ").join(
        sql.SQL("{} {} not null").format(sql.Identifier(name), sql.SQL(stored[name])) for name in specification.key
    )
    return sql.SQL("create temporary table {} ({}) on commit drop").format(sql.Identifier(table), columns)


def copy_published_keys(endpoint: Endpoint, keys_table: str | None = None) -> sql.Composed:
    """Copy the published rows as CSV: the key (times in UTC), the row hash, and whether the row is removed.

    `keys_table` is a temporary table: only rows with its keys are copied.
    """
    specification = ENDPOINTS[endpoint]
    in_utc = sql.SQL("{} at time zone 'utc'")
    columns = [(name, sql.Identifier("published", name)) for name in specification.key]
    key = sql.SQL(", ").join(
        in_utc.format(column) if name in specification.times else column for name, column in columns
    )
    restriction: sql.Composable = sql.SQL("")
    if keys_table is not None:
        restriction = sql.SQL(" join {} as key on {}").format(
            sql.Identifier("pg_temp", keys_table), _equal(specification.key, "key")
        )
    return sql.SQL(
        "copy (select {}, row_hash, removed_at is not null from {} as published{}) to stdout (format csv)"
    ).format(key, sql.Identifier(_WAREHOUSE, endpoint), restriction)


def copy_published_ids(endpoint: Endpoint) -> sql.Composed:
    """Copy the id of every row that was ever published, as CSV."""
    return sql.SQL("copy (select id from {}) to stdout (format csv)").format(sql.Identifier(_WAREHOUSE, endpoint))


def insert_rows(endpoint: Endpoint, staged_table: str) -> sql.Composed:
    """Insert the staged rows that were never published. Parameter: batch_id."""
    columns = _names(_warehouse_columns(ENDPOINTS[endpoint]))
    return sql.SQL("insert into {} ({}, batch_id) select {}, %(batch_id)s from {} where is_new").format(
        sql.Identifier(_WAREHOUSE, endpoint), columns, columns, sql.Identifier(STAGING, staged_table)
    )


def insert_numbered_rows(endpoint: Endpoint, staged_table: str, target: tuple[str, str]) -> sql.Composed:
    """Insert the new staged rows of some months into `target`, with an id that the warehouse gives.

    Parameters: batch_id, last_id (the largest id so far) and in_months (null: every month).
    """
    columns = _names(_warehouse_columns(ENDPOINTS[endpoint]))
    return sql.SQL(
        "insert into {} (id, {}, batch_id) select %(last_id)s + new_ordinal, {}, %(batch_id)s from {} where is_new"
        " and (%(in_months)s::date[] is null"
        " or date_trunc('month', created_at at time zone 'UTC')::date = any(%(in_months)s::date[]))"
    ).format(sql.Identifier(*target), columns, columns, sql.Identifier(STAGING, staged_table))


def update_rows(endpoint: Endpoint, staged_table: str) -> sql.Composed:
    """Update the published rows that the batch changes or brings back. Parameter: batch_id."""
    specification = ENDPOINTS[endpoint]
    changed = [name for name in _warehouse_columns(specification) if name not in specification.key]
    return sql.SQL(
        "update {} as published set {}, batch_id = %(batch_id)s, removed_at = null"
        " from {} as staged where {} and not staged.is_new"
    ).format(
        sql.Identifier(_WAREHOUSE, endpoint),
        _assignments(changed, "staged"),
        sql.Identifier(STAGING, staged_table),
        _equal(specification.key, "staged"),
    )


def update_numbered_rows(endpoint: Endpoint, changed_table: str, target: tuple[str, str]) -> sql.Composed:
    """Update the rows of `target`, a month, that are in `changed_table`, which has their ids in the warehouse.

    Parameters: batch_id, and start and stop of the month.
    """
    specification = ENDPOINTS[endpoint]
    changed = [name for name in _warehouse_columns(specification) if name not in specification.key]
    return sql.SQL(
        "update {} as published set {}, batch_id = %(batch_id)s, removed_at = null from {} as changed where {}"
        " and changed.created_at >= %(start)s and changed.created_at < %(stop)s"
    ).format(
        sql.Identifier(*target),
        _assignments(changed, "changed"),
        sql.Identifier(changed_table),
        _equal(("id", "created_at"), "changed"),
    )


def mark_removed_rows(endpoint: Endpoint, removed_table: str) -> sql.Composed:
    """Mark the published rows that are missing in the batch as removed. Parameters: batch_id, day."""
    return sql.SQL(
        "update {} as published set removed_at = %(day)s::date at time zone 'UTC', batch_id = %(batch_id)s"
        " from {} as removed where {} and published.removed_at is null"
    ).format(
        sql.Identifier(_WAREHOUSE, endpoint),
        sql.Identifier(STAGING, removed_table),
        _equal(ENDPOINTS[endpoint].key, "removed"),
    )


def _stored_types(specification: EndpointSpecification) -> dict[str, LiteralString]:
    """The stored columns with their Postgres types. A duration has two columns: text and seconds."""
    types: dict[str, LiteralString] = {}
    for field in specification.fields:
        types[field.name] = _POSTGRES_TYPES[field.kind]
        if field.kind == "duration":
            types[f"{field.name}_seconds"] = "integer"
    return types | {"row_hash": "bigint"}


def _staged_types(specification: EndpointSpecification) -> dict[str, LiteralString]:
    types = _stored_types(specification) | {"is_new": "boolean"}
    return types | {"new_ordinal": "bigint"} if specification.is_numbered else types


def _warehouse_columns(specification: EndpointSpecification) -> list[str]:
    """The columns of the warehouse table that come from the batch."""
    lists = {field.name for field in specification.fields if field.kind == "id_list"}
    return [name for name in _stored_types(specification) if name not in lists]


def _create_table(table: str, types: dict[str, LiteralString]) -> sql.Composed:
    columns = sql.SQL(", ").join(
        sql.SQL("{} {}{}").format(
            sql.Identifier(name), sql.SQL(kind), sql.SQL("" if name == "new_ordinal" else " not null")
        )
        for name, kind in types.items()
    )
    return sql.SQL("create unlogged table {} ({})").format(sql.Identifier(STAGING, table), columns)


def _names(columns: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _assignments(columns: Iterable[str], source: str) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Identifier(source, name)) for name in columns
    )


def _equal(columns: Iterable[str], source: str) -> sql.Composed:
    return sql.SQL(" and ").join(
        sql.SQL("{} = {}").format(sql.Identifier("published", name), sql.Identifier(source, name)) for name in columns
    )
