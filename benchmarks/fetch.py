"""Fetch: the pages a second that are landed, against a bare loop that throws them away."""

from __future__ import annotations

import shutil
from statistics import median

from benchmarks.bench import FETCH_THREADS, PAGE_SIZE, Bench
from benchmarks.figures import Figure, Measured, at_least
from benchmarks.processes import Show
from benchmarks.raw_copies import seconds_of
from benchmarks.source import BASE_DAY, BareFetch, bare_fetch
from core.clock import utc_now
from core.data_layout import DataLayout
from core.endpoints import ENDPOINTS
from core.settings import Settings
from pipeline import landing
from pipeline.batches import Batch
from pipeline.client import ApiClient

HOW = (
    "`pipeline.landing.land_snapshot` over the three snapshots, which decodes, checks, compresses and keeps every page"
    f" and reads some twice, against as many threads ({FETCH_THREADS}) of `requests.Session().get` with the same page"
    " size that throw the bodies away; taking turns in one process, the median of the ratios."
)


def measure(bench: Bench) -> Measured:
    """Both loops, taking turns."""
    turns = bench.run(bench.show, take_turns, bench.settings("fetch"), bench.rounds).result
    pages = turns[0][0].pages
    bare, ours = (median(side) for side in zip(*((one.seconds, other) for one, other in turns), strict=True))
    figure = Figure(
        name="fetch: pages a second, share of a bare loop",
        number=median(one.seconds / other for one, other in turns),
        unit="",
        target=at_least(0.8),
        measured=f"{pages / ours:,.0f} pages a second against {pages / bare:,.0f}, {pages:,} pages",
        spent="decoding and checking the pages, compressing and writing them, reading a few twice",
    )
    return Measured(HOW, [figure])


def take_turns(show: Show, settings: Settings, rounds: int) -> list[tuple[BareFetch, float]]:
    """The bare loop and ours, each `rounds` times. What was landed last stays."""
    turns = []
    for _ in range(rounds):
        bare = bare_fetch(show, settings.moovitamix_api_url, FETCH_THREADS, PAGE_SIZE)
        shutil.rmtree(DataLayout(settings.data_dir).landing, ignore_errors=True)
        turns.append((bare, seconds_of(lambda: _land_all(show, settings))))
    return turns


def _land_all(show: Show, settings: Settings) -> None:
    for endpoint in ENDPOINTS:
        landing.land_snapshot(
            ApiClient(settings),
            Batch(endpoint, BASE_DAY, settings.source),
            settings,
            clock=utc_now,
            progress=lambda done, pages: show(f"landing, {done:,} of {pages:,} pages"),
        )
