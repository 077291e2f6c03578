"""The revision of a day's batch that a run works on."""

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from pipeline.batches import Batch, Counts, LedgerEntry, Status, choose_revision, parse_batch_id

BATCH = Batch("tracks", date(2026, 11, 22), "http://api")
SECOND = replace(BATCH, revision=2)


def entry(status: Status, *, settled: bool = True, source: str = "http://api") -> LedgerEntry:
    return LedgerEntry(replace(BATCH, source=source), status, Counts(), datetime.now(UTC), None, settled)


@pytest.mark.parametrize(
    ("latest", "refresh", "expected"),
    [
        (None, False, (BATCH, False)),
        (entry("published"), False, (BATCH, True)),
        (entry("unchanged"), False, (BATCH, True)),
        (entry("published"), True, (SECOND, False)),
        (entry("published", source="http://other"), False, (SECOND, False)),
        (entry("blocked"), False, (SECOND, False)),
        (entry("blocked", settled=False), False, (BATCH, False)),
        (entry("landed", settled=False), False, (BATCH, False)),
        (entry("staged", settled=False), False, (BATCH, False)),
        (entry("failed"), False, (BATCH, False)),
    ],
)
def test_the_revision_depends_on_the_latest_batch_of_the_day(
    latest: LedgerEntry | None, refresh: bool, expected: tuple[Batch, bool]
) -> None:
    assert choose_revision(latest, BATCH, refresh=refresh) == expected


def test_a_batch_id_has_endpoint_day_and_later_revisions() -> None:
    assert BATCH.batch_id == "tracks-2026-11-22"
    assert SECOND.batch_id == "tracks-2026-11-22-r2"
    assert parse_batch_id(SECOND.batch_id) == ("tracks", date(2026, 11, 22), 2)
    assert parse_batch_id("listen_history-2026-11-22") == ("listen_history", date(2026, 11, 22), 1)


@pytest.mark.parametrize(
    "text", ["", "tracks", "tracks-2026-13-01", "albums-2026-11-22", "tracks-2026-11-22-r", "x'; --"]
)
def test_other_texts_are_not_batch_ids(text: str) -> None:
    assert parse_batch_id(text) is None
