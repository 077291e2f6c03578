"""Folding: of the rows of a snapshot that share a key, one is kept. The others count by how they differ from it.

- A duplicate equals another row of its key in every stored field. Nothing is lost with it.
- A superseded row is an older version of the row kept. Nothing of it is lost that the source did not replace.
- A conflicting row is neither: two rows claim the same key, and content of one of them is lost.

Why they are told apart is in `docs/adr/0025-rows-that-share-a-key.md`.
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
    """Rows with one row per key, in snapshot order. `set_aside`: row_position and reason of rows that differ."""

    kept: pl.DataFrame
    duplicates: int
    set_aside: pl.DataFrame


def has_repeated_keys(keys: pl.DataFrame) -> bool:
    """Whether a row of these key columns comes twice."""
    return bool(keys.select(pl.struct(pl.all()).n_unique()).item() < len(keys))


def deduplicate(endpoint: Endpoint, rows: pl.DataFrame) -> Deduplicated:
    """Keep one row of each key: the newest by `updated_at`.

    Of rows with an equal `updated_at`, the session with most plays is kept, then the row with the largest hash. So the
    choice depends on the rows alone, not on their order or pages. Of duplicates, the last one is kept.
    """
    key = list(ENDPOINTS[endpoint].key)
    repeated = rows.filter(pl.struct(key).is_duplicated()).sort("row_position")
    distinct = repeated.unique([*key, "row_hash"], keep="last", maintain_order=True)
    newest = distinct.sort("updated_at", *_plays(endpoint), "row_hash").unique(key, keep="last")
    others = distinct.join(newest.select("row_position"), on="row_position", how="anti")
    set_aside = others.join(newest, on=key, suffix="_kept").select(
        "row_position", reason=pl.when(_is_superseded(endpoint)).then(pl.lit(SUPERSEDED)).otherwise(pl.lit(CONFLICTING))
    )
    removed = repeated.select("row_position").join(newest, on="row_position", how="anti")
    kept = rows.join(removed, on="row_position", how="anti", maintain_order="left")
    return Deduplicated(kept, len(repeated) - len(distinct), set_aside)


def _plays(endpoint: Endpoint) -> list[pl.Expr]:
    """The number of plays of a session; nothing for other endpoints."""
    return [pl.col("items").str.count_matches("[0-9]+")] if endpoint == LISTEN_HISTORY else []


def _is_superseded(endpoint: Endpoint) -> pl.Expr:
    """Whether a row is an older version of the `_kept` row beside it: the same object, or no plays that are lost."""
    older = pl.col("updated_at") < pl.col("updated_at_kept")
    if endpoint != LISTEN_HISTORY:
        return older & (pl.col("created_at") == pl.col("created_at_kept"))
    has_its_plays = pl.struct("items", "items_kept").map_elements(
        lambda row: _counted(row["items"]) <= _counted(row["items_kept"]), return_dtype=pl.Boolean
    )
    return older & has_its_plays


def _counted(items: str) -> Counter[str]:
    """Plays of a session by track. `items` is text like `{1,2,3}`."""
    return Counter(items[1:-1].split(",") if len(items) > 2 else [])
