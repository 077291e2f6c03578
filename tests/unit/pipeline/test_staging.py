"""Staging compares a batch with the published rows in parts of bounded size."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from core.endpoints import LISTEN_HISTORY
from pipeline import staging, transformation
from pipeline.batches import Batch
from pipeline.staging import _Difference, _PublishedRows, _rows_to_stage
from pipeline.transformation import TransformedBatch
from tests.landed_rows import transform_rows
from tests.source_stub import session

BATCH = Batch(LISTEN_HISTORY, date(2026, 11, 3), "http://a")
KEY = ["user_id", "created_at"]


def published_rows(batch: TransformedBatch) -> pl.DataFrame:
    """20 of 40 sessions are published unchanged, 5 differ, 5 were removed; 3 published sessions are no longer sent."""
    sent = pl.concat(part for number in range(batch.buckets) for part in batch.parts(number)).sort("row_position")
    known = sent[:30].select(
        *KEY,
        published_hash=pl.when(pl.col("row_position") > 20).then(0).otherwise("row_hash"),
        removed=pl.col("row_position") > 25,
    )
    unseen = known[:3].with_columns(user_id=pl.col("user_id") + 100, removed=pl.lit(False))
    return pl.concat([known, unseen])


def compare(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[pl.DataFrame, _Difference, list[int]]:
    """The rows to stage in the order of the snapshot, the difference, and the sizes of the frames."""
    rows = [session(number, [number], created_at=f"2026-11-02T00:00:{number:02d}") for number in range(40)]
    batch = transform_rows(folder, LISTEN_HISTORY, rows, size=2)
    published = published_rows(batch)
    monkeypatch.setattr(staging, "_read_published_keys", lambda *_: [published[:10], published[10:]])
    difference = _Difference()
    files = _PublishedRows(None, LISTEN_HISTORY, batch)  # type: ignore[arg-type]  # the frames replace the database
    frames = list(_rows_to_stage(BATCH, batch, files, difference))
    return pl.concat(frames).sort("row_position"), difference, [len(frame) for frame in frames]


def test_comparison_in_parts_has_the_same_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    staged, difference, _ = compare(tmp_path / "at once", monkeypatch)
    for name, rows in (("ROWS_PER_BUCKET", 15), ("ROWS_PER_STEP", 4), ("ROWS_PER_PART", 3)):
        monkeypatch.setattr(transformation, name, rows)
    staged_in_parts, difference_in_parts, sizes = compare(tmp_path / "in parts", monkeypatch)
    assert len(sizes) > 5 and max(sizes) < 10
    assert staged_in_parts.drop("new_ordinal").equals(staged.drop("new_ordinal"))
    for result, rows in ((difference, staged), (difference_in_parts, staged_in_parts)):
        counts = (result.unchanged, result.staged, result.new, result.removed, result.published)
        assert counts == (20, 20, 10, 3, 28)
        assert pl.concat(result.removed_keys).height == 3
        assert sorted(rows["new_ordinal"].drop_nulls()) == list(range(1, 11))
        assert result.sessions == {1: 40}
