"""Read plays and item attributes from Parquet or CSV files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from core.errors import InteractionsError
from recommender.data.interactions import ARTIST, GENRE, Interactions
from recommender.data.item_attributes import attribute_codes

USER, TRACK, PLAYS = "user_id", "track_id", "plays"
_COLUMN_OF = {ARTIST: "artist", GENRE: "genres"}
_ROW = "row of the file"
_PARQUET_BEGINS = b"PAR1"
_MAX_PLAYS = float(np.finfo(np.float32).max)


def read_interactions(path: Path) -> Interactions:
    """Read a file with one row per user and track. Repeated pairs are added up; other columns are ignored.

    Without the column `plays`, each row counts as one play. Raises InteractionsError: one line with the file, the row
    (counted from 1, without the header) and the next step.
    """
    try:
        frame = _read(path, (USER, TRACK), (PLAYS,))
        users, tracks = _ids(frame, USER), _ids(frame, TRACK)
        return Interactions.from_pairs(users, tracks, _plays(frame) if PLAYS in frame.columns else None)
    except InteractionsError as error:
        raise InteractionsError(f"{path}: {error}") from None


def add_item_attributes(interactions: Interactions, path: Path) -> Interactions:
    """Return the same plays with the tracks of a file and their item attributes.

    The file has one row per track and at least one of the columns `artist` and `genres`. Raises InteractionsError like
    `read_interactions`, and when a track occurs twice.
    """
    try:
        frame = _read(path, (TRACK,), tuple(_COLUMN_OF.values()))
        tracks = _ids(frame, TRACK)
        _refuse(~frame[TRACK].is_first_distinct(), frame, TRACK, "a track of an earlier row")
        item_attributes = {
            kind: attribute_codes(_texts(frame, name)) for kind, name in _COLUMN_OF.items() if name in frame.columns
        }
        return interactions.with_item_attributes(tracks, item_attributes)
    except InteractionsError as error:
        raise InteractionsError(f"{path}: {error}") from None


def _read(path: Path, needed: tuple[str, ...], optional: tuple[str, ...]) -> pl.DataFrame:
    """Read the needed and optional columns. CSV columns are text, and blank lines are skipped."""
    try:
        with path.open("rb") as file:
            is_parquet = file.read(len(_PARQUET_BEGINS)) == _PARQUET_BEGINS
        lazy = pl.scan_parquet(path, glob=False) if is_parquet else pl.scan_csv(path, infer_schema=False, glob=False)
        columns = lazy.collect_schema().names()
        present = [name for name in (*needed, *optional) if name in columns]
        missing = [name for name in needed if name not in columns]
        if missing:
            shown_columns = ", ".join(columns[:10])
            raise InteractionsError(
                f"no column {' and no column '.join(missing)}, only {shown_columns}; add or rename it"
            )
        lazy = lazy.with_row_index(_ROW, 1)
        if not is_parquet:
            lazy = lazy.filter(~pl.all_horizontal(pl.col(columns).is_null()))
        return lazy.select(_ROW, *present).collect()
    except OSError as error:
        raise InteractionsError(f"cannot be read ({error.strerror or 'unreadable'})") from None
    except pl.exceptions.NoDataError:
        names = f"{', '.join(needed)} and optionally {', '.join(optional)}"
        raise InteractionsError(f"is empty; it needs the columns {names}") from None
    except pl.exceptions.PolarsError as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InteractionsError(f"can be read neither as Parquet nor as CSV ({reason})") from None


def _ids(frame: pl.DataFrame, name: str) -> NDArray[np.int64]:
    column = frame[name]
    if not (column.dtype.is_integer() or column.dtype in (pl.String, pl.Null)):
        raise InteractionsError(f"{name} is a column of {column.dtype}, not of integers; convert it")
    ids = _stripped(column).cast(pl.Int64, strict=False)
    _refuse(ids.is_null(), frame, name, "not an integer from -2^63 to 2^63-1")
    return ids.to_numpy()


def _plays(frame: pl.DataFrame) -> NDArray[np.float64]:
    column = frame[PLAYS]
    if not (column.dtype.is_numeric() or column.dtype in (pl.String, pl.Null)):
        raise InteractionsError(f"{PLAYS} is a column of {column.dtype}, not of numbers; convert it")
    plays = _stripped(column).cast(pl.Float64, strict=False)
    valid = plays.is_between(0, _MAX_PLAYS).fill_null(False)
    _refuse(~valid, frame, PLAYS, "not a finite number of 0 or more")
    return plays.to_numpy()


def _texts(frame: pl.DataFrame, name: str) -> pl.Series:
    column = frame[name]
    if column.dtype.is_nested() or column.dtype == pl.Binary:
        raise InteractionsError(f"{name} is a column of {column.dtype}, not of text; convert it")
    return column


def _stripped(values: pl.Series) -> pl.Series:
    return values.str.strip_chars() if values.dtype == pl.String else values


def _refuse(wrong: pl.Series, frame: pl.DataFrame, name: str, reason: str) -> None:
    first = wrong.arg_max()
    if first is None or not wrong[first]:
        return
    row, value = frame[_ROW][first], frame[name][first]
    shown = "missing" if value is None else repr(value)[:40]
    further_rows = int(wrong.sum()) - 1
    more = f" (and {further_rows:,} more)" if further_rows else ""
    raise InteractionsError(f"{name} in row {row:,} is {shown}, {reason}{more}; correct or remove it")
