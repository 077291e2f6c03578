"""Simulates nightly runs at several sizes. `--write` also writes the results to docs/scaling.md."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from statistics import median

import numpy as np

from benchmarks import report
from benchmarks.command_line import temporary_postgres
from benchmarks.figures import Table
from benchmarks.nightly import costs
from benchmarks.nightly.costs import FlowCosts, ModelCosts
from benchmarks.nightly.simulation import JobTimes, SimulatedBlocks, SimulatedCluster, simulate_job
from benchmarks.sample_data import LENGTH
from core.clock import utc_now
from recommender.publishing.recommendation_lists import USERS_PER_BLOCK

PAGE = report.DocsPage("scaling.md", "nightly")
_PLOT = "images/scaling-nightly.png"
USERS = (1_000_000, 10_000_000, 100_000_000)
TRACKS = 1_000_000
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
        sessions, pairs, rows = users * SESSIONS_PER_USER, users * PAIRS_PER_USER, users * LENGTH
        pages = (sessions + users + self.tracks) // ROWS_PER_PAGE
        ranges = SimulatedBlocks(max(1, pages // PAGES_PER_RANGE), [SECONDS_PER_PAGE * PAGES_PER_RANGE], 0.0)
        stored = self.flow.per_recommendation * LENGTH * USERS_PER_BLOCK
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


def main() -> None:
    """Print the simulation. Exits with 2 for a wrong argument, or for a page without marks."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.nightly",
        description="Measure block times, and simulate nightly runs on many workers with them.",
    )
    parser.add_argument("--rounds", type=report.parse_count, default=3, help="blocks measured on each core (3)")
    options = PAGE.read_options(parser, None)
    with report.terminal().status("starting") as status, temporary_postgres() as (folder, postgres):
        models = costs.measure_models(status.update, options.rounds)
        flow = costs.measure_flow(status.update, folder, postgres, options.rounds)
    simulation = NightSimulation(models, flow, TRACKS, seed=0)
    PAGE.publish(list(_page_lines(simulation, utc_now().date())), options.write)
    if options.write:
        lines = {f"{users:,} users": [night.hours for night in nights] for users, nights in simulation.nights.items()}
        titles = {"title": "Nightly run, extrapolated", "xlabel": f"workers of {THREADS} cores", "ylabel": "hours"}
        report.draw_lines(options.write / _PLOT, (7, 4.2), WORKERS, lines, **titles)


def _page_lines(simulation: NightSimulation, day: date) -> Iterator[str]:
    yield f"Written by `python -m benchmarks.nightly --write` on {day}. All but the block times is extrapolated."
    yield ""
    yield f"![Hours of a nightly run over the number of workers, both axes logarithmic]({_PLOT})"
    yield from report.table_sections(tables(simulation))


def tables(simulation: NightSimulation) -> list[Table]:
    """The sizes, the parts of the night, and the measured costs."""
    model, flow, nights = simulation.models[-1], simulation.flow, simulation.nights
    sizing = [
        f"{night.users // 1_000_000:,} million | {night.workers} | {night.hours:,.1f} | {night.vcpu_hours:,.0f}"
        f" | {model.memory(simulation.tracks, night.users * PAIRS_PER_USER) / 1e9:,.1f}"
        f" | {night.users * LENGTH * 100 / 1e9:,.0f} | {night.landing.repeated_blocks + night.scoring.repeated_blocks}"
        for nights_of_users in nights.values()
        for night in nights_of_users
        if night.workers in (1, 16, 64)
    ]
    largest = [nights_of_users[-1] for nights_of_users in nights.values()]
    parts = [
        f"read pages, on workers | {_hours(night.landing.seconds for night in largest)}",
        *(f"{step}, one machine | {_hours(night.flow[step] for night in largest)}" for step in largest[0].flow),
        f"score and store, on workers and one machine | {_hours(night.scoring.seconds for night in largest)}",
    ]
    scoring = []
    for model_costs in simulation.models:
        seconds = (
            costs.blocks_of(users) * model_costs.block_seconds(simulation.tracks, users * PAIRS_PER_USER)
            for users in USERS
        )
        scoring.append(f"{model_costs.name} | {_hours(seconds, digits=0)}")
    measured = [
        f"{model_costs.name} | {size.users:,} | {size.tracks:,} | {size.pairs:,} | {median(size.seconds):.2f}"
        f" | {model_costs.block_seconds(size.tracks, size.pairs):.2f} | {size.state_bytes / 1e6:,.0f}"
        for model_costs in simulation.models
        for size in model_costs.measured
    ]
    note = (
        "CPU seconds of a block of 1,000 users, with one block on each of two cores. For each block on Dask, the flow"
        f"\ntakes {1_000 * flow.per_block:.0f} ms of CPU. Storing a recommendation takes"
        f" {1e6 * flow.per_recommendation:.1f} µs of CPU, similar tracks {1e6 * flow.similar_per_pair:.1f} µs a pair."
    )
    return [
        Table(
            "Sizes of a nightly run",
            "users | workers | hours | vCPU hours | model in each worker, GB | a publication, GB | blocks repeated",
            sizing,
            f"With `{model.name}` and {simulation.tracks:,} tracks.",
        ),
        Table("Parts of the night: hours with 64 workers", f"step | {_MILLIONS}", parts),
        Table("Scoring alone: vCPU hours", f"model | {_MILLIONS}", scoring),
        Table("Block times", "model | users | tracks | pairs | measured | fitted | model, MB", measured, note),
    ]


def _hours(seconds: Iterable[float], digits: int = 2) -> str:
    return " | ".join(f"{duration / 3_600:,.{digits}f}" for duration in seconds)
