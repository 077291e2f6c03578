"""The days after the first: nothing changed, or about one session in a hundred, against a bare fetch."""

from __future__ import annotations

from datetime import timedelta
from statistics import median

from benchmarks.bench import Bench
from benchmarks.figures import Figure, Measured, Target, at_most, shares
from benchmarks.ingests import Ingest
from benchmarks.source import BASE_DAY, move_to
from core.database import connect

HOW = (
    "The whole ingest of the following days, each in a fresh process, taking turns with the bare loop over the same"
    " lists; the median of the ratios. First the mock stands still, then it moves on a day at a time. Changed are rows"
    " that are new, different or gone. Before each day all tables are analyzed, as autovacuum does by then. The import"
    " of Great Expectations is not part of it."
)

Turns = list[tuple[float, Ingest]]


def measure(bench: Bench) -> Measured:
    """Unchanged days, then changed ones, on top of the first ingest."""
    _ = bench.first_ingest
    unchanged, changed = _turns(bench, 1, moves=False), _turns(bench, 1 + bench.rounds, moves=True)
    if rows := sum(ingest.changed_rows for _, ingest in unchanged):
        raise RuntimeError(f"the mock stood still and {rows:,} rows were published")
    return Measured(
        HOW,
        [
            _figure("an unchanged day", unchanged, at_most(1.3)),
            _figure("a day with 1 % changes", changed, at_most(1.5)),
        ],
    )


def _turns(bench: Bench, first_day: int, *, moves: bool) -> Turns:
    turns = []
    for number in range(bench.rounds):
        if moves:
            bench.show("the mock moves on a day")
            move_to(bench.api_url, BASE_DAY + timedelta(days=1 + number))
        fetched = bench.bare_fetch_seconds()
        day = BASE_DAY + timedelta(days=first_day + number)
        with connect(bench.warehouse.database_url.get_secret_value()) as connection:
            connection.execute("analyze")
        turns.append((fetched, bench.ingest(bench.warehouse, day).result))
    return turns


def _figure(name: str, turns: Turns, target: Target) -> Figure:
    ingests = [ingest for _, ingest in turns]
    share = median(ingest.changed_sessions / ingest.sessions for ingest in ingests)
    changed = median(ingest.changed_rows for ingest in ingests)
    total, fetched = median(ingest.total for ingest in ingests), median(fetched for fetched, _ in turns)
    typical = {step: median(ingest.seconds[step] for ingest in ingests) for step in ingests[0].seconds}
    what = f"{100 * share:.2f} % of the sessions, {changed:,.0f} rows changed"
    return Figure(
        name=f"{name}: times a bare fetch",
        number=median(ingest.total / fetched for fetched, ingest in turns),
        unit="",
        target=target,
        measured=f"{total:.1f} s against {fetched:.1f} s; {what}",
        spent=shares(typical),
    )
