"""Fetch: pages a second that are landed, against a bare loop that discards them."""

from __future__ import annotations

import shutil

from benchmarks.baselines import bare_fetch, page_requests
from benchmarks.context import FETCH_THREADS, PAGE_SIZE, BenchmarkContext
from benchmarks.figures import Figure, Measurement, PairedRuns, run_in_turns
from benchmarks.processes import Show
from benchmarks.source import BASE_DAY, land_batch
from core.data_layout import DataLayout
from core.endpoints import ENDPOINTS
from core.settings import Settings
from pipeline.batches import Batch


def measure(context: BenchmarkContext) -> Measurement:
    """Compare both loops."""
    runs = context.run(context.show, compare, context.settings("fetch"), context.rounds).result
    figure = Figure(
        "fetch: pages a second, share of a bare loop",
        runs.share_of_rate,
        f"{runs.rates('pages')}, {runs.count:,} pages",
        at_least=0.8,
        breakdown="decoding and checking the pages, compressing and writing them, reading a few twice",
    )
    return Measurement([figure])


def compare(show: Show, settings: Settings, rounds: int) -> PairedRuns:
    """Land all pages, and fetch them with the bare loop. The pages of the last round stay landed."""
    api_url, landing_folder = settings.moovitamix_api_url, DataLayout(settings.data_dir).landing

    def land_all() -> None:
        for endpoint in ENDPOINTS:
            land_batch(show, Batch(endpoint, BASE_DAY, settings.source), settings)

    return run_in_turns(
        rounds,
        land_all,
        lambda: bare_fetch(show, api_url, FETCH_THREADS, PAGE_SIZE),
        count=len(page_requests(api_url, PAGE_SIZE)),
        show=show,
        prepare=lambda: shutil.rmtree(landing_folder, ignore_errors=True),
    )
