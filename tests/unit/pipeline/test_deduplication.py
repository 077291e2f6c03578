"""Rows that share a key: the kept row does not depend on their order, and the others are classified."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from core.endpoints import ENDPOINTS, LISTEN_HISTORY, TRACKS, USERS, Endpoint
from pipeline import transformation
from pipeline.deduplication import CONFLICTING, SUPERSEDED
from pipeline.transformation import TransformedBatch
from tests.conftest import ROOT
from tests.landed_rows import transform_rows
from tests.source_stub import Row, session, track, user

LATER = "2026-11-02T00:00:00"


def remaining_rows(batch: TransformedBatch) -> list[dict[str, Any]]:
    parts = (part for number in range(batch.buckets) for part in batch.parts(number))
    return [row for part in parts for row in part.iter_rows(named=True)]


def stored_rows(batch: TransformedBatch) -> list[tuple[int, Any, str]]:
    return [
        (position, json.loads(raw), reason)
        for frame in batch.rejected()
        for position, _, raw, reason in frame.iter_rows()
    ]


def counts(batch: TransformedBatch) -> tuple[int, int, int]:
    """The numbers of duplicate, superseded and conflicting rows. Checks that every landed row is counted once."""
    repeated = batch.rows_duplicate, batch.rows_superseded, batch.rows_conflicting
    assert batch.rows_landed == batch.rows_rejected + sum(repeated) + len(remaining_rows(batch))
    return repeated


@pytest.mark.parametrize(
    ("endpoint", "rows", "expected", "winner"),
    [
        # All stored values are equal: null and empty items, field order, unknown fields, the zone of a time.
        (LISTEN_HISTORY, [session(1, None), session(1, [])], (1, 0, 0), None),
        (TRACKS, [track(1), dict(reversed(track(1).items())), track(1) | {"mood": 1}], (2, 0, 0), None),
        (USERS, [user(1), user(1, created_at="2026-11-01T01:00:00.000001+01:00")], (1, 0, 0), None),
        # A newer version replaces an older one.
        (TRACKS, [track(1, album="new", updated_at=LATER), track(1)], (0, 1, 0), 0),
        (USERS, [user(1), user(1, last_name="New", updated_at=LATER)], (0, 1, 0), 1),
        (LISTEN_HISTORY, [session(1, [1, 1, 2], updated_at=LATER), session(1, [2, 1])], (0, 1, 0), 0),
        (LISTEN_HISTORY, [session(1, None), session(1, [2], updated_at=LATER)], (0, 1, 0), 1),
        # Either row may be right, or the older one has content that the newer one lacks.
        (TRACKS, [track(1), track(1, album="other")], (0, 0, 1), None),
        (TRACKS, [track(1), track(1, created_at="2026-10-01T00:00:00", updated_at=LATER)], (0, 0, 1), 1),
        (USERS, [user(1, first_name="Jos\u00e9"), user(1, first_name="Jose\u0301")], (0, 0, 1), None),
        (LISTEN_HISTORY, [session(1, [1, 1]), session(1, [1], updated_at=LATER)], (0, 0, 1), 1),
        (LISTEN_HISTORY, [session(1, [1]), session(1, [2, 3])], (0, 0, 1), 1),
        (LISTEN_HISTORY, [session(1, [1, 2]), session(1, [2, 1])], (0, 0, 1), None),
        # Repeated content conflicts once. Its other rows are duplicates.
        (LISTEN_HISTORY, [session(1, [1, 2]), session(1, [3]), session(1, [3]), session(1, [1, 2])], (2, 0, 1), 0),
        # Rows without a valid key are rejected, so they share no key.
        (LISTEN_HISTORY, [session(1, [1]) | {"user_id": None}, session(1, [2]) | {"user_id": None}], (0, 0, 0), None),
    ],
)  # fmt: skip
def test_rows_of_a_key_are_classified_independently_of_order_and_page(
    endpoint: Endpoint, rows: list[Row], expected: tuple[int, int, int], winner: int | None, tmp_path: Path
) -> None:
    chosen = set()
    for order, size in itertools.product(itertools.permutations(rows), (1, 2, 100)):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        batch = transform_rows(folder, endpoint, list(order), size)
        assert counts(batch) == expected
        chosen.add(repr([row | {"row_position": None} for row in remaining_rows(batch)]))
        differing = [(row, reason) for _, row, reason in stored_rows(batch) if reason in (SUPERSEDED, CONFLICTING)]
        assert len(differing) == expected[1] + expected[2]
        if winner is not None:
            assert rows[winner] not in [row for row, _ in differing]
    assert len(chosen) == 1


def test_differing_rows_are_stored_with_their_text_across_buckets_and_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformation, "ROWS_PER_BUCKET", 40)
    monkeypatch.setattr(transformation, "ROWS_PER_STEP", 14)
    rows = [session(number % 60, [number], created_at=f"2026-11-01T00:00:{number % 60:02d}") for number in range(200)]
    batch = transform_rows(tmp_path, LISTEN_HISTORY, rows, size=7)
    assert batch.buckets == 5
    assert counts(batch) == (0, 0, 140)
    differing = stored_rows(batch)
    assert len(differing) == 140
    assert all(rows[position - 1] == row for position, row, _ in differing)
    assert {row["items"] for row in remaining_rows(batch)}.isdisjoint(
        f"{{{row['items'][0]}}}" for _, row, _ in differing
    )


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_recorded_pages_of_the_real_api_have_no_repeated_keys(endpoint: Endpoint, tmp_path: Path) -> None:
    page = json.loads((ROOT / "tests" / "data" / "contract" / f"{endpoint}.page1.json").read_text())
    batch = transform_rows(tmp_path, endpoint, page["items"])
    assert counts(batch) == (0, 0, 0)
    assert len(remaining_rows(batch)) == len(page["items"]) > 0
