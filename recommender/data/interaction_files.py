"""Read plays and item attributes from Parquet or CSV files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from core.errors import InteractionsError
from recommender.data.interactions import ARTIST, GENRE, Ids, Interactions, ItemAttributes
from recommender.data.item_attributes import attribute_codes
from recommender.data.play_log import PlayLog

USER, TRACK, PLAYS = "user_id", "track_id", "plays"
TIME = "played_at"
_COLUMN_OF = {ARTIST: "artist", GENRE: "genres"}
_ROW = "row of the file"
_PARQUET_BEGINS = b"PAR1"
_MAX_SECONDS = 4e9  # the year 2096; larger numbers are not seconds
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


def read_play_log(path: Path, time_column: str = TIME) -> PlayLog | None:
    """Read a file with one row per user, track and time; None if it has no such column.

    Times are seconds since 1970, ISO 8601 texts (UTC if they name no zone), or Parquet dates and times. Raises
    InteractionsError like `read_interactions`.
    """
    try:
        frame = _read(path, (USER, TRACK), (PLAYS, time_column))
        if time_column not in frame.columns:
            return None
        plays = _plays(frame) if PLAYS in frame.columns else np.ones(frame.height, np.float32)
        return PlayLog(_ids(frame, USER), _ids(frame, TRACK), plays, _times(frame, time_column))
    except InteractionsError as error:
        raise InteractionsError(f"{path}: {error}") from None


def add_item_attributes(interactions: Interactions, path: Path) -> Interactions:
    """Return the same plays with the tracks of a file and their item attributes.

    Raises InteractionsError like `read_item_attributes`.
    """
    return interactions.with_item_attributes(*read_item_attributes(path))


def read_item_attributes(path: Path) -> tuple[Ids, ItemAttributes]:
    """Read the tracks of a file and their item attributes.

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
        return tracks, item_attributes
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


def _times(frame: pl.DataFrame, name: str) -> NDArray[np.datetime64]:
    """UTC, to the microsecond."""
    column = frame[name]
    if column.dtype in (pl.String, pl.Null):
        seconds = _stripped(column).cast(pl.Float64, strict=False)
        is_text = seconds.null_count() == len(seconds)
        column = column.cast(pl.String).str.to_datetime(strict=False, time_zone="UTC") if is_text else seconds
    if column.dtype.is_numeric():
        seconds = column.cast(pl.Float64)
        column = (seconds.set(~seconds.is_between(0, _MAX_SECONDS), None) * 1e6).cast(pl.Int64, strict=False)
    elif column.dtype not in (pl.Datetime, pl.Date):
        raise InteractionsError(f"{name} is a column of {column.dtype}, not of times; convert it")
    _refuse(column.is_null(), frame, name, "not a time: seconds since 1970, or like 2026-11-23T12:00:00")
    # Postgres and Parquet store times with a zone in UTC.
    times: NDArray[np.datetime64] = column.cast(pl.Datetime("us")).to_physical().to_numpy().astype("datetime64[us]")
    return times


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
    suffix = f" (and {further_rows:,} more)" if further_rows else ""
    raise InteractionsError(f"{name} in row {row:,} is {shown}, {reason}{suffix}; correct or remove it")
