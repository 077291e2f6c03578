"""The simulation of nightly runs, by worked examples: full workers, a slow flow, dead workers."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.nightly import costs
from benchmarks.nightly.command_line import NightSimulation, tables
from benchmarks.nightly.costs import BlockTime, FlowCosts, ModelCosts
from benchmarks.nightly.simulation import JobTimes, SimulatedBlocks, SimulatedCluster, simulate_job

_NEVER = 1e9


def job(workers: int, count: int, *, flow_seconds: float = 0.0, hours_between_deaths: float = _NEVER) -> JobTimes:
    """A job of blocks of 10 seconds on workers of two threads."""
    cluster = SimulatedCluster(workers, 2, hours_between_deaths, restart_seconds=60)
    return simulate_job(cluster, SimulatedBlocks(count, [10.0], flow_seconds), np.random.default_rng(0))


def test_job_ends_when_the_last_block_is_computed() -> None:
    assert job(1, 8).seconds == pytest.approx(40)
    assert job(2, 8).seconds == pytest.approx(20)
    assert job(2, 9).seconds == pytest.approx(30), "the last block has a round of its own"
    assert job(2, 9) == JobTimes(job(2, 9).seconds, pytest.approx(90), 0)  # type: ignore[arg-type]


def test_slow_flow_limits_any_number_of_workers() -> None:
    # After the first block, the flow handles one result after the other.
    assert job(64, 1_000, flow_seconds=1.0).seconds == pytest.approx(1_010)
    # 2 threads compute a block in 5 seconds on average, which hides 4 seconds of the flow.
    assert job(1, 100, flow_seconds=4.0).seconds < 520


def test_dead_workers_cost_time_and_no_block() -> None:
    safe, unsafe = job(4, 2_000), job(4, 2_000, hours_between_deaths=0.5)
    assert unsafe.repeated_blocks > 0
    assert unsafe.seconds > safe.seconds
    assert 20_000 < unsafe.thread_seconds <= 20_000 + 10 * unsafe.repeated_blocks
    assert unsafe == job(4, 2_000, hours_between_deaths=0.5), "a seed gives the same night"


def test_costs_are_linear_in_tracks_and_pairs() -> None:
    sizes = [(20_000, 100_000), (40_000, 100_000), (40_000, 400_000), (80_000, 200_000)]
    measured = [
        BlockTime(1, tracks, pairs, (0.1 + 2e-5 * tracks + 3e-7 * pairs,), 1_000 + 8 * tracks + 4 * pairs)
        for tracks, pairs in sizes
    ]
    model = ModelCosts.of("als", measured)
    assert model.block_seconds(1_000_000, 10_000_000) == pytest.approx(0.1 + 20 + 3)
    assert model.memory(1_000_000, 10_000_000) == pytest.approx(48e6, rel=1e-4)
    assert model.spread == (1.0, 1.0, 1.0, 1.0)


def test_page_is_made_of_measured_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "SIZES", ((60, 150), (60, 400), (150, 150)))
    flow = FlowCosts(per_block=0.05, per_recommendation=1e-6, similar_per_pair=4e-6)
    simulation = NightSimulation(costs.measure_models(lambda _: None, rounds=1), flow, tracks=1_000, seed=0)
    sizing, parts, scoring, measured = tables(simulation)
    assert [row.split(" | ")[0] for row in scoring.rows] == ["chebyshev_als", "als"]
    assert len(measured.rows) == 6
    assert len(parts.rows) == 6
    hours = {tuple(row.split(" | ")[:2]): float(row.split(" | ")[2].replace(",", "")) for row in sizing.rows}
    assert hours["100 million", "64"] < hours["100 million", "1"]
    assert hours["1 million", "1"] < hours["10 million", "1"] < hours["100 million", "1"]
