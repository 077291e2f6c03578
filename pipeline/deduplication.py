"""Deduplication: keep one row of each key of a snapshot, and classify the removed rows.

- A duplicate equals another row of its key in every stored field. Removing it loses nothing.
- A superseded row is an older version of the kept row. Removing it loses only content that the source has replaced.
- A conflicting row is any other row with the same key. Removing it loses content.

See `docs/adr/0025-rows-that-share-a-key.md` for the reasons.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import polars as pl

from core.endpoints import ENDPOINTS, LISTEN_HISTORY, Endpoint

SUPERSEDED = "older version of a row that was kept"
CONFLICTING = "conflict: another row with the same key and other content was kept"


@dataclass(frozen=True)
class Deduplicated:
    """The result of a deduplication.

    `rows` has one row per key, in the order of the snapshot. `duplicates` is a number of rows. `differing_rows` has
    row_position and reason of the superseded and conflicting rows.
    """

    rows: pl.DataFrame
    duplicates: int
    differing_rows: pl.DataFrame


def has_repeated_keys(keys: pl.DataFrame) -> bool:
    """Whether two rows have the same key. The frame has only key columns."""
    return bool(keys.select(pl.struct(pl.all()).n_unique()).item() < len(keys))


def deduplicate(endpoint: Endpoint, rows: pl.DataFrame) -> Deduplicated:
    """Keep the row of each key with the newest `updated_at`.

    If several are equally new, the session with most plays is kept, then the row with the largest hash. The choice does
    not depend on the order of rows or on their pages. The last of several duplicates is kept.
    """
    key = list(ENDPOINTS[endpoint].key)
    repeated = rows.filter(pl.struct(key).is_duplicated()).sort("row_position")
    distinct = repeated.unique([*key, "row_hash"], keep="last", maintain_order=True)
    newest = distinct.sort("updated_at", *_plays(endpoint), "row_hash").unique(key, keep="last")
    older = distinct.join(newest.select("row_position"), on="row_position", how="anti")
    differing_rows = older.join(newest, on=key, suffix="_kept").select(
        "row_position", reason=pl.when(_is_superseded(endpoint)).then(pl.lit(SUPERSEDED)).otherwise(pl.lit(CONFLICTING))
    )
    removed = repeated.select("row_position").join(newest, on="row_position", how="anti")
    remaining = rows.join(removed, on="row_position", how="anti", maintain_order="left")
    return Deduplicated(remaining, len(repeated) - len(distinct), differing_rows)


def _plays(endpoint: Endpoint) -> list[pl.Expr]:
    """The number of plays of a session. Empty for other endpoints."""
    return [pl.col("items").str.count_matches("[0-9]+")] if endpoint == LISTEN_HISTORY else []


def _is_superseded(endpoint: Endpoint) -> pl.Expr:
    """Whether a row is older than the joined `_kept` row, and has the same created_at, or no plays that it lacks."""
    older = pl.col("updated_at") < pl.col("updated_at_kept")
    if endpoint != LISTEN_HISTORY:
        return older & (pl.col("created_at") == pl.col("created_at_kept"))
    loses_no_plays = pl.struct("items", "items_kept").map_elements(
        lambda row: _play_counts(row["items"]) <= _play_counts(row["items_kept"]), return_dtype=pl.Boolean
    )
    return older & loses_no_plays


def _play_counts(items: str) -> Counter[str]:
    """The plays of a session by track. `items` is text such as `{1,2,3}`."""
    return Counter(items[1:-1].split(",") if len(items) > 2 else [])
