"""Simulates nightly runs at several sizes. `--write` also writes the results to docs/scaling.md."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks import report
from benchmarks.command_line import temporary_postgres
from benchmarks.figures import Table
from benchmarks.nightly import costs
from benchmarks.nightly.costs import FlowCosts, ModelCosts
from benchmarks.nightly.simulation import JobTimes, SimulatedBlocks, SimulatedCluster, simulate_job
from core.clock import utc_now
from core.dates import parse_day
from recommender.publishing.recommendation_lists import USERS_PER_BLOCK

PAGE, MARK = "scaling.md", "nightly"
_PLOT = "images/scaling-nightly.png"
USERS = (1_000_000, 10_000_000, 100_000_000)
WORKERS = (1, 2, 4, 8, 16, 32, 64)
THREADS = 2
# Assumptions. docs/scaling.md lists them.
PAIRS_PER_USER, SESSIONS_PER_USER, ACTIVE_SHARE = 26, 10, 0.1
SECONDS_PER_PAGE, ROWS_PER_PAGE, PAGES_PER_RANGE = 0.1, 100, 100
HOURS_BETWEEN_DEATHS, RESTART_SECONDS = 24.0, 60.0
# Seconds of earlier benchmarks: the steps of a day with 1 % changes after landing, per session; reading the plays, per
# pair; evaluating a day, per user of the day; and the audit of a publication, per recommendation.
INGEST_PER_SESSION = 11.1e-6
READ_PER_PAIR = 1.9e-6
EVALUATION_PER_USER = 65e-6
AUDIT_PER_RECOMMENDATION = 2.3e-6
_MILLIONS = " | ".join(f"{users // 1_000_000} million users" for users in USERS)
_STYLES = {1_000_000: ("#56B4E9", "-"), 10_000_000: ("#0072B2", "--"), 100_000_000: ("black", "-.")}


@dataclass(frozen=True)
class Night:
    """A nightly run: seconds by step. `landing` and `scoring` run on the workers, `flow` on one machine."""

    users: int
    workers: int
    landing: JobTimes
    scoring: JobTimes
    flow: Mapping[str, float]

    @property
    def hours(self) -> float:
        return (self.landing.seconds + self.scoring.seconds + sum(self.flow.values())) / 3_600

    @property
    def vcpu_hours(self) -> float:
        """The workers while they have blocks, and one machine of two cores with flow and Postgres for the whole run."""
        blocks = self.landing.seconds + self.scoring.seconds
        return self.workers * THREADS * blocks / 3_600 + THREADS * self.hours


@dataclass(frozen=True)
class NightSimulation:
    """Nights with a model, and the costs that they are computed from."""

    models: Sequence[ModelCosts]
    flow: FlowCosts
    tracks: int
    seed: int

    def night(self, model: ModelCosts, users: int, workers: int) -> Night:
        """Simulate one night."""
        rng = np.random.default_rng(self.seed)
        cluster = SimulatedCluster(workers, THREADS, HOURS_BETWEEN_DEATHS, RESTART_SECONDS)
        sessions, pairs, rows = users * SESSIONS_PER_USER, users * PAIRS_PER_USER, users * costs.N
        pages = (sessions + users + self.tracks) // ROWS_PER_PAGE
        ranges = SimulatedBlocks(max(1, pages // PAGES_PER_RANGE), [SECONDS_PER_PAGE * PAGES_PER_RANGE], 0.0)
        stored = self.flow.per_recommendation * costs.N * USERS_PER_BLOCK
        seconds = list(costs.spread_of(model, self.tracks, pairs))
        blocks = SimulatedBlocks(costs.blocks_of(users), seconds, self.flow.per_block + stored)
        flow = {
            "shape, stage, audit and publish the batches": INGEST_PER_SESSION * sessions,
            "evaluate a day": EVALUATION_PER_USER * ACTIVE_SHARE * users,
            "read plays, similar tracks": (READ_PER_PAIR + self.flow.similar_per_pair) * pairs,
            "audit the recommendations": AUDIT_PER_RECOMMENDATION * rows,
        }
        return Night(users, workers, simulate_job(cluster, ranges, rng), simulate_job(cluster, blocks, rng), flow)

    @cached_property
    def nights(self) -> dict[int, list[Night]]:
        """Nights with the last model, which scales best, by users."""
        return {users: [self.night(self.models[-1], users, workers) for workers in WORKERS] for users in USERS}


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 after the simulation. Exits with 2 for a wrong argument, or for a page without marks."""
    options = read_options(arguments)
    console = Console(highlight=False)
    with console.status("starting") as status, temporary_postgres() as (folder, postgres):
        simulation = NightSimulation(
            costs.measure_models(status.update, options.rounds),
            costs.measure_flow(status.update, folder, postgres, utc_now(), options.rounds),
            options.tracks,
            seed=0,
        )
    console.print(*report.terminal_tables("nightly run", [], tables(simulation)))
    if options.write:
        report.write_part(options.write / PAGE, MARK, _page_lines(simulation, options.date))
        draw_nights(simulation.nights, options.write / _PLOT)
        console.print(f"written: {options.write / PAGE}")
    return 0


def read_options(arguments: Sequence[str] | None) -> Any:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.nightly",
        description="Measure block times, and simulate nightly runs on many workers with them.",
    )
    parser.add_argument("--tracks", type=report.parse_count, default=1_000_000, help="of the catalogue (1000000)")
    parser.add_argument("--rounds", type=report.parse_count, default=3, help="blocks measured on each core (3)")
    parser.add_argument("--date", type=parse_day, default=datetime.now(UTC).date(), help="for the page (today)")
    return report.parse_options(parser, arguments, PAGE, MARK)


def tables(simulation: NightSimulation) -> list[Table]:
    """The sizes, the parts of the night, and the measured costs."""
    return [_sizing(simulation), _parts(simulation), _scoring(simulation), _measured(simulation)]


def _sizing(simulation: NightSimulation) -> Table:
    model = simulation.models[-1]
    rows = [
        f"{night.users // 1_000_000:,} million | {night.workers} | {night.hours:,.1f} | {night.vcpu_hours:,.0f}"
        f" | {model.memory(simulation.tracks, night.users * PAIRS_PER_USER) / 1e9:,.1f}"
        f" | {night.users * costs.N * 100 / 1e9:,.0f} | {night.landing.repeated_blocks + night.scoring.repeated_blocks}"
        for nights in simulation.nights.values()
        for night in nights
        if night.workers in (1, 16, 64)
    ]
    header = "users | workers | hours | vCPU hours | model in each worker, GB | a publication, GB | blocks repeated"
    note = f"With `{model.name}` and {simulation.tracks:,} tracks."
    return Table("Sizes of a nightly run", header, rows, note)


def _parts(simulation: NightSimulation) -> Table:
    nights = [nights[-1] for nights in simulation.nights.values()]
    rows = [
        f"read pages, on workers | {_hours(night.landing.seconds for night in nights)}",
        *(f"{step}, one machine | {_hours(night.flow[step] for night in nights)}" for step in nights[0].flow),
        f"score and store, on workers and one machine | {_hours(night.scoring.seconds for night in nights)}",
    ]
    return Table("Parts of the night: hours with 64 workers", f"step | {_MILLIONS}", rows)


def _scoring(simulation: NightSimulation) -> Table:
    rows = [
        f"{model.name} | "
        + " | ".join(
            f"{costs.blocks_of(users) * model.block_seconds(simulation.tracks, users * PAIRS_PER_USER) / 3_600:,.0f}"
            for users in USERS
        )
        for model in simulation.models
    ]
    return Table("Scoring alone: vCPU hours", f"model | {_MILLIONS}", rows)


def _measured(simulation: NightSimulation) -> Table:
    rows = [
        f"{model.name} | {size.users:,} | {size.tracks:,} | {size.pairs:,} | {float(np.median(size.seconds)):.2f}"
        f" | {model.block_seconds(size.tracks, size.pairs):.2f} | {size.state_bytes / 1e6:,.0f}"
        for model in simulation.models
        for size in model.measured
    ]
    flow = simulation.flow
    note = (
        "CPU seconds of a block of 1,000 users, with one block on each of two cores. For each block on Dask, the flow"
        f"\ntakes {1_000 * flow.per_block:.0f} ms of CPU. Storing a recommendation takes"
        f" {1e6 * flow.per_recommendation:.1f} µs of CPU, similar tracks {1e6 * flow.similar_per_pair:.1f} µs a pair."
    )
    return Table("Block times", "model | users | tracks | pairs | measured | fitted | model, MB", rows, note)


def _hours(seconds: Iterator[float]) -> str:
    return " | ".join(f"{duration / 3_600:,.2f}" for duration in seconds)


def _page_lines(simulation: NightSimulation, day: date) -> Iterator[str]:
    yield f"Written by `python -m benchmarks.nightly --write` on {day}. All but the block times is extrapolated."
    yield ""
    yield f"![Hours of a nightly run over the number of workers, both axes logarithmic]({_PLOT})"
    for table in tables(simulation):
        yield from report.table_section(table)


def draw_nights(nights: Mapping[int, Sequence[Night]], file: Path) -> None:
    """Plot hours over workers, one line for each number of users."""
    with report.canvas_for(file, 7, 4.2) as canvas:
        axes = canvas.subplots()
        for users, of_users in nights.items():
            colour, line_style = _STYLES[users]
            hours = [night.hours for night in of_users]
            axes.loglog(WORKERS, hours, color=colour, linestyle=line_style, marker="o", label=f"{users:,} users")
        axes.set(title="Nightly run, extrapolated", xlabel=f"workers of {THREADS} cores", ylabel="hours")
        axes.set_xticks(WORKERS, labels=[str(workers) for workers in WORKERS])
        axes.minorticks_off()
        axes.legend(fontsize=8)
