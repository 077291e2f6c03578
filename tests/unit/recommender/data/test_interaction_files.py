"""Plays from files: valid files are read, and invalid files are refused with a message of one line."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from core.errors import InteractionsError
from recommender.data.interaction_files import add_item_attributes, read_interactions, read_play_log
from recommender.data.interactions import ARTIST, GENRE, Interactions


def _csv(folder: Path, text: str) -> Path:
    path = folder / "plays.csv"
    path.write_text(text)
    return path


def _parquet(folder: Path, **columns: Any) -> Path:
    path = folder / "plays.parquet"
    pl.DataFrame(columns).write_parquet(path)
    return path


def _rows(interactions: Interactions) -> list[tuple[int, int, float]]:
    entries = interactions.plays.tocoo()
    rows, columns = entries.coords
    users, tracks = interactions.user_ids[rows].tolist(), interactions.track_ids[columns].tolist()
    return sorted(zip(users, tracks, entries.data.tolist(), strict=True))


def test_csv_with_other_columns_in_any_order(tmp_path: Path) -> None:
    path = _csv(tmp_path, 'plays,name,track_id,user_id\n3,"a, b",11,1\n1,,12,1\n')
    assert _rows(read_interactions(path)) == [(1, 11, 3), (1, 12, 1)]


def test_rows_without_plays_count_one_and_repeated_pairs_add_up(tmp_path: Path) -> None:
    assert _rows(read_interactions(_csv(tmp_path, "user_id,track_id\n1,11\n1,11\n2,11\n"))) == [(1, 11, 2), (2, 11, 1)]


def test_parquet_with_small_integers_and_extra_columns(tmp_path: Path) -> None:
    ids = np.array([1, 2], np.uint8)
    path = _parquet(tmp_path, user_id=ids, track_id=ids, plays=[2.5, 0.0], name=["a", "b"])
    assert _rows(read_interactions(path)) == [(1, 1, 2.5)]


def test_file_format_is_detected_by_content(tmp_path: Path) -> None:
    path = _parquet(tmp_path, user_id=[1], track_id=[2]).rename(tmp_path / "plays.dat")
    assert _rows(read_interactions(path)) == [(1, 2, 1)]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_64_bit_ids_are_read_exactly(tmp_path: Path, kind: str) -> None:
    smallest, largest = -(2**63), 2**63 - 1
    path = tmp_path / f"plays.{kind}"
    frame = pl.DataFrame({"user_id": [smallest, largest], "track_id": [largest, largest - 1]})
    frame.write_csv(path) if kind == "csv" else frame.write_parquet(path)
    assert _rows(read_interactions(path)) == [(smallest, largest, 1), (largest, largest - 1, 1)]


def test_blank_lines_spaces_and_byte_order_mark_are_ignored(tmp_path: Path) -> None:
    path = _csv(tmp_path, "\ufeffuser_id,track_id,plays\r\n1, 11,2\r\n\r\n 2,12 ,1 \r\n\r\n")
    assert _rows(read_interactions(path)) == [(1, 11, 2), (2, 12, 1)]


def test_file_with_only_a_header_has_no_plays(tmp_path: Path) -> None:
    assert not len(read_interactions(_csv(tmp_path, "user_id,track_id,plays\n")))
    assert not len(read_interactions(_parquet(tmp_path, user_id=[], track_id=[])))


@pytest.mark.parametrize(
    ("text", "expected_error"),
    [
        ("", "is empty"),
        ("user,track_id\n1,2\n", "no column user_id, only user, track_id; add or rename it"),
        ("user,track\n1,2\n", "no column user_id and no column track_id"),
        ("user_id,track_id\n1,2\n1.5,2\n", "user_id in row 2 is '1.5', not an integer"),
        ("user_id,track_id\n\n1,2\nanna,2\n", "user_id in row 3 is 'anna', not an integer"),
        ("user_id,track_id\n1,9223372036854775808\n", r"track_id in row 1 is '9223372036854775808', not .* to 2\^63-1"),
        ("user_id,track_id\n1\n", "track_id in row 1 is missing"),
        ("user_id,track_id,plays\n1,2,1\n1,3,-4\n1,4,-4\n", r"plays in row 2 is '-4', .* 0 or more \(and 1 more\)"),
        ("user_id,track_id,plays\n1,2,NaN\n", "plays in row 1 is 'NaN'"),
        ("user_id,track_id,plays\n1,2,inf\n", "plays in row 1 is 'inf'"),
        ("user_id,track_id,plays\n1,2,1e39\n", "plays in row 1 is '1e39'"),
        ("user_id,track_id,plays\n1,2,\n", "plays in row 1 is missing"),
        ("user_id,track_id,plays\n1,2,often\n", "plays in row 1 is 'often'"),
        ("user_id,track_id\n1,2,3,4\n", "can be read neither as Parquet nor as CSV"),
        ("PAR1 and then nothing that is Parquet", "can be read neither as Parquet nor as CSV"),
    ],
)
def test_invalid_csv_is_refused_with_one_line(tmp_path: Path, text: str, expected_error: str) -> None:
    path = _csv(tmp_path, text)
    with pytest.raises(InteractionsError, match=expected_error) as caught:
        read_interactions(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "expected_error"),
    [
        ({"user_id": [1.0], "track_id": [1]}, "user_id is a column of Float64, not of integers"),
        ({"user_id": [1], "track_id": [[1]]}, r"track_id is a column of List\(Int64\), not of integers"),
        ({"user_id": ["a"], "track_id": [1]}, "user_id in row 1 is 'a', not an integer"),
        ({"user_id": [1, None], "track_id": [1, 1]}, "user_id in row 2 is missing"),
        ({"user_id": np.array([2**63], np.uint64), "track_id": [1]}, "user_id in row 1 is 9223372036854775808"),
        ({"user_id": [1], "track_id": [1], "plays": [float("nan")]}, "plays in row 1 is nan"),
        ({"user_id": [1], "track_id": [1], "plays": [None]}, "plays in row 1 is missing"),
        ({"user_id": [1], "track_id": [1], "plays": [True]}, "plays is a column of Boolean, not of numbers"),
    ],
)
def test_invalid_parquet_is_refused(tmp_path: Path, columns: dict[str, Any], expected_error: str) -> None:
    with pytest.raises(InteractionsError, match=expected_error):
        read_interactions(_parquet(tmp_path, **columns))


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InteractionsError, match=r"nowhere.csv: cannot be read \(No such file or directory\)"):
        read_interactions(tmp_path / "nowhere.csv")
    with pytest.raises(InteractionsError, match=r"cannot be read \(Is a directory\)"):
        read_interactions(tmp_path)


PLAYS = Interactions.from_pairs([1, 1], [11, 12])


def test_item_attributes_are_whole_texts(tmp_path: Path) -> None:
    text = 'genres,track_id,artist,album\n"soul, funk",12,Ada,x\nsoul,13, Bo,y\n,11,Ada,z\n'
    with_item_attributes = add_item_attributes(PLAYS, _csv(tmp_path, text))
    assert with_item_attributes.track_ids.tolist() == [11, 12, 13]
    assert with_item_attributes.item_attributes[ARTIST].tolist() == [0, 0, 1]
    assert with_item_attributes.item_attributes[GENRE].tolist() == [-1, 1, 0]
    assert _rows(with_item_attributes) == _rows(PLAYS)
    assert set(add_item_attributes(PLAYS, _parquet(tmp_path, track_id=[11], artist=[7])).item_attributes) == {ARTIST}


@pytest.mark.parametrize(
    ("text", "expected_error"),
    [
        ("", "is empty; it needs the columns track_id and optionally artist, genres"),
        ("id,artist\n1,Ada\n", "no column track_id"),
        ("track_id,artist\n1,Ada\n2,Bo\n1,Bo\n", "track_id in row 3 is '1', a track of an earlier row"),
        ("track_id,artist\none,Ada\n", "track_id in row 1 is 'one', not an integer"),
    ],
)
def test_invalid_tracks_file_is_refused_with_one_line(tmp_path: Path, text: str, expected_error: str) -> None:
    with pytest.raises(InteractionsError, match=expected_error):
        add_item_attributes(PLAYS, _csv(tmp_path, text))


def test_list_of_genres_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InteractionsError, match=r"genres is a column of List.*, not of text; convert it"):
        add_item_attributes(PLAYS, _parquet(tmp_path, track_id=[1], genres=[["soul", "funk"]]))


@pytest.mark.parametrize(
    "times",
    [
        "1700000000,1700000060",
        "2023-11-14T22:13:20,2023-11-14 22:14:20",
        "2023-11-14T22:13:20Z,2023-11-14T23:14:20+01:00",
    ],
)
def test_times_are_seconds_or_iso_texts(times: str, tmp_path: Path) -> None:
    first, second = times.split(",")
    log = read_play_log(_csv(tmp_path, f"user_id,track_id,played_at\n1,11,{first}\n1,11,{second}\n"))
    assert log is not None
    assert log.played_at.tolist() == [datetime(2023, 11, 14, 22, 13, 20), datetime(2023, 11, 14, 22, 14, 20)]
    assert log.plays.tolist() == [1, 1]


def test_times_of_parquet_are_converted_to_utc(tmp_path: Path) -> None:
    moment = datetime(2023, 11, 14, 23, tzinfo=ZoneInfo("Europe/Paris"))
    path = _parquet(tmp_path, user_id=[1], track_id=[2], plays=[3], at=[moment], day=[moment.date()])
    for column, expected in (("at", datetime(2023, 11, 14, 22)), ("day", datetime(2023, 11, 14))):
        log = read_play_log(path, column)
        assert log is not None
        assert (log.played_at.tolist(), log.plays.tolist()) == ([expected], [3])
    assert read_play_log(path) is None


@pytest.mark.parametrize("time", ["", "yesterday", "1700000000000", "-5"])
def test_unreadable_time_is_refused(time: str, tmp_path: Path) -> None:
    path = _csv(tmp_path, f"user_id,track_id,played_at\n1,11,1700000000\n1,12,{time}\n")
    with pytest.raises(InteractionsError, match=r"plays.csv: played_at in row 2 is .*, not a time: seconds since 1970"):
        read_play_log(path)
