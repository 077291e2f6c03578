"""Blocks on a cluster of real processes: results, lost workers, blocks that end a worker, versions, and time limits."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import psutil
import pytest

from compute import certificates
from compute.blocks import IN_PROCESS, BlockRunner
from compute.cluster import DaskCluster
from compute.worker_state import STATE_PREFIX
from core.errors import BlockFailed, ClusterUnavailable, ModelError
from recommender.data.interactions import Interactions
from recommender.models.popularity import GenrePopularity
from recommender.models.registry import CANDIDATES
from recommender.publishing.recommendation_lists import recommend_to_all_users
from tests.integration.compute import block_jobs
from tests.integration.compute.block_jobs import CountedState, StoppingState
from tests.integration.compute.dask_processes import ComputeProcess, LocalCluster, local_cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A scheduler with two workers of one thread."""
    with local_cluster(tmp_path_factory.mktemp("cluster"), workers=2) as started:
        yield started


@pytest.fixture
def runner(cluster: LocalCluster) -> Iterator[BlockRunner]:
    with cluster.runner() as opened:
        yield opened


def files(folder: Path, prefix: str) -> int:
    return len(list(folder.glob(f"{prefix}-*")))


def test_state_is_restored_once_per_worker_and_every_block_has_a_result(runner: BlockRunner, tmp_path: Path) -> None:
    results = dict(runner.run(block_jobs.ADD, CountedState(tmp_path, 100, 0.02), range(40)))
    assert {number: total for number, (total, _) in results.items()} == {block: 100 + block for block in range(40)}
    workers = {process for _, process in results.values()}
    assert len(workers) == 2
    assert files(tmp_path, "restored") == 2


def plays() -> Interactions:
    """3,000 users, 400 tracks; some users have no plays, some a genre."""
    random = np.random.default_rng(5)
    users = random.integers(0, 2_900, 40_000)
    tracks = (random.power(0.4, 40_000) * 400).astype(np.int64)
    return Interactions.from_pairs(
        users,
        tracks,
        random.integers(1, 9, 40_000),
        known_users=np.arange(3_000),
        catalogue=np.arange(400),
        genres=np.where(np.arange(3_000) % 3, "Rock", "Jazz"),
    )


def test_recommendations_are_bit_identical_in_process_and_on_four_two_and_one_workers(tmp_path: Path) -> None:
    played = plays()
    names = ("ease", "chebyshev_als", "popularity_by_genre")
    models = {name: CANDIDATES[name].model_class().fit(played) for name in names}
    fallback = GenrePopularity().fit(played)

    def recommend(name: str, runner: BlockRunner) -> pl.DataFrame:
        frames = recommend_to_all_users(models[name], fallback, played, 20, exclude_seen=True, runner=runner)
        return pl.concat(frames).sort("user_id", "rank")

    in_process = {name: recommend(name, IN_PROCESS) for name in names}
    with local_cluster(tmp_path, workers=4) as cluster, cluster.runner() as runner:
        assert isinstance(runner, DaskCluster)
        for count in (4, 2, 1):
            for worker in cluster.workers[count:]:
                worker.kill()
            until = time.monotonic() + 60
            while runner.threads("") != count and time.monotonic() < until:
                time.sleep(0.05)
            assert runner.threads("") == count
            for name in names:
                assert recommend(name, runner).equals(in_process[name]), (name, count)


def test_error_of_a_block_reaches_the_flow(runner: BlockRunner, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"^block 2 has no model$"):
        list(runner.run(block_jobs.REFUSE, CountedState(tmp_path), range(5)))


@pytest.mark.parametrize("error", [PermissionError(13, "no right"), TimeoutError("too late")])
def test_system_error_of_a_block_is_not_a_lost_scheduler(runner: BlockRunner, tmp_path: Path, error: OSError) -> None:
    with pytest.raises(type(error)) as raised:
        list(runner.run(block_jobs.REFUSE_WITH, CountedState(tmp_path, extra={"error": error}), range(5)))
    assert raised.value.args == error.args


def test_killed_worker_costs_no_block(cluster: LocalCluster, runner: BlockRunner, tmp_path: Path) -> None:
    results = {}
    for number, (total, process) in runner.run(block_jobs.ADD, CountedState(tmp_path, 0, 0.05), range(30)):
        if not results:
            os.kill(process, signal.SIGKILL)
        results[number] = total
    assert results == {block: block for block in range(30)}


def test_poison_block_is_named_after_two_attempts(runner: BlockRunner, tmp_path: Path) -> None:
    received = []
    with pytest.raises(BlockFailed, match=r"^add: block 3 ended the worker that computed it, twice"):
        received += [number for number, _ in runner.run(block_jobs.POISON, CountedState(tmp_path), range(8))]
    assert (tmp_path / "attempts").read_text() == "xx"


def test_poison_block_is_excluded_if_its_job_allows_it(runner: BlockRunner, tmp_path: Path) -> None:
    results = {
        number: total for number, (total, _) in runner.run(block_jobs.POISON_ALLOWED, CountedState(tmp_path), range(8))
    }
    assert results == {**{block: block for block in range(8)}, 3: -1}


def test_block_whose_result_ends_its_worker_is_named(runner: BlockRunner, tmp_path: Path) -> None:
    with pytest.raises(BlockFailed, match=r"^add: block 3 ended the worker that computed it, twice"):
        list(runner.run(block_jobs.POISON_RESULT, CountedState(tmp_path), range(8)))


def test_worker_with_nearly_full_memory_continues(tmp_path: Path) -> None:
    megabytes = 1024
    state = CountedState(tmp_path, extra={"bytes": megabytes * 2**20})
    with LocalCluster(tmp_path / "cluster") as cluster:
        cluster.start_worker("--memory-mb", str(megabytes)).wait_for("joined")
        with cluster.runner(dask_block_seconds=60) as runner:
            assert len(dict(runner.run(block_jobs.FILL_MEMORY, state, range(6)))) == 6


def test_stopped_scheduler_is_noticed_whenever_it_stops(cluster: LocalCluster, tmp_path: Path) -> None:
    scheduler = cluster.scheduler.process.pid
    limits = {"dask_worker_seconds": 10, "dask_block_seconds": 2}
    lost = pytest.raises(ClusterUnavailable, match=r"the connection to the Dask scheduler .* is lost \(TimeoutError\)")
    try:
        with lost, cluster.runner(**limits) as runner:
            list(runner.run(block_jobs.ADD, StoppingState(tmp_path, extra={"scheduler": scheduler}), range(3)))
        os.kill(scheduler, signal.SIGCONT)
        with lost, cluster.runner(dask_worker_seconds=5) as runner:
            for _ in runner.run(block_jobs.ADD, CountedState(tmp_path, 0, 0.1), range(100)):
                os.kill(scheduler, signal.SIGSTOP)
    finally:
        os.kill(scheduler, signal.SIGCONT)


def test_hanging_block_fails_at_its_limit(cluster: LocalCluster, tmp_path: Path) -> None:
    job = replace(block_jobs.HANG, seconds_per_thread=0.5)
    with (
        cluster.runner(dask_block_seconds=1) as impatient,
        pytest.raises(
            ClusterUnavailable, match=r"no block finished within 2 s \(DASK_BLOCK_SECONDS\); unfinished: block 1"
        ),
    ):
        list(impatient.run(job, CountedState(tmp_path), range(3)))
    (tmp_path / "go on").touch()


def test_missing_resource_is_named(cluster: LocalCluster, tmp_path: Path) -> None:
    with cluster.runner(dask_worker_seconds=5) as impatient, pytest.raises(ClusterUnavailable, match="resource gpu"):
        list(impatient.run(block_jobs.TRIAL, CountedState(tmp_path), range(3)))


def test_state_of_a_killed_flow_is_forgotten(cluster: LocalCluster, runner: BlockRunner, tmp_path: Path) -> None:
    flow = cluster.start_flow("run_forever", tmp_path)
    flow.wait_for("a block is done")
    assert isinstance(runner, DaskCluster)
    assert len(states_of(runner)) == 1
    flow.kill()
    until = time.monotonic() + 60
    while states_of(runner) and time.monotonic() < until:
        time.sleep(0.05)
    assert states_of(runner) == []


def states_of(runner: DaskCluster) -> list[str]:
    """The names of the states that workers hold or get when they join."""
    names: list[str] = runner._client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.worker_plugins))
    return [name for name in names if name.startswith(STATE_PREFIX)]  # Dask has one too


def run_until_the_end(runner: BlockRunner, state: CountedState, *killed: ComputeProcess) -> None:
    """Run a hundred blocks, and kill processes after the first results."""
    for count, _ in enumerate(runner.run(block_jobs.ADD, state, range(100))):
        if count == 5:
            for process in killed:
                process.kill()


def test_all_parts_use_tls(tmp_path: Path) -> None:
    assert certificates.main([str(tmp_path / "tls")]) == 0
    assert certificates.main([str(tmp_path / "tls")]) == 2, "it replaces no key"
    assert (tmp_path / "tls" / "key.pem").stat().st_mode & 0o777 == 0o600
    names = {"CA_FILE": "ca.pem", "CERTIFICATE_FILE": "certificate.pem", "KEY_FILE": "key.pem"}
    environment = {f"DASK_TLS_{name}": str(tmp_path / "tls" / file) for name, file in names.items()}
    with LocalCluster(tmp_path / "cluster", environment=environment) as cluster:
        assert cluster.address.startswith("tls://")
        cluster.add_workers(1)
        with cluster.runner() as runner:
            assert len(dict(runner.run(block_jobs.ADD, CountedState(tmp_path), range(3)))) == 3
        assert certificates.main([str(tmp_path / "others")]) == 0
        foreign = {f"dask_tls_{name.lower()}": tmp_path / "others" / file for name, file in names.items()}
        with pytest.raises(ClusterUnavailable, match="certificate"), cluster.runner(dask_worker_seconds=5, **foreign):
            pass


@pytest.mark.parametrize("days", ["0", "-1", "99999999"])
def test_certificates_are_valid_for_a_hundred_years_at_most(days: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        certificates.main([str(tmp_path / "tls"), "--days", days])
    assert not (tmp_path / "tls").exists()


def test_certificates_in_a_folder_that_cannot_be_written_are_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert certificates.main([str(tmp_path / "file" / "tls")]) == 2
    assert "cannot be written: Not a directory; choose another folder" in capsys.readouterr().err


def test_late_worker_helps_and_lost_workers_and_scheduler_are_named(tmp_path: Path) -> None:
    with LocalCluster(tmp_path / "cluster") as cluster:
        with cluster.runner(dask_worker_seconds=5) as runner, pytest.raises(ClusterUnavailable, match="had no worker"):
            list(runner.run(block_jobs.ADD, CountedState(tmp_path), range(3)))

        newer_worker = cluster.start_worker(version="2.0")
        assert newer_worker.wait() == 1
        refusal = "".join(newer_worker.lines)
        assert "runs another version (code 2.0" in refusal
        assert "Traceback" not in refusal
        with (
            cluster.runner(dask_worker_seconds=5) as runner,
            pytest.raises(ClusterUnavailable, match=r"1 workers were refused, .* \(code 2\.0"),
        ):
            list(runner.run(block_jobs.ADD, CountedState(tmp_path), range(3)))
        with pytest.raises(ClusterUnavailable, match="another version"), cluster.runner(code_version="3.0"):
            pass

        cluster.add_workers(1)
        late = threading.Thread(target=cluster.add_workers, args=(1,))
        with cluster.runner() as runner:
            processes = set()
            waits = CountedState(tmp_path, 0, 0.1)
            for _, (_, process) in runner.run(block_jobs.ADD, waits, range(150)):
                if not processes:
                    late.start()
                processes.add(process)
        late.join()
        assert len(processes) == 2

        with (
            cluster.runner(dask_worker_seconds=5) as runner,
            pytest.raises(ClusterUnavailable, match="had no worker for 5 s"),
        ):
            run_until_the_end(runner, waits, *cluster.workers)

        cluster.add_workers(1)
        with (
            cluster.runner() as runner,
            pytest.raises(ClusterUnavailable, match=r"the connection to the Dask scheduler .* is lost"),
        ):
            run_until_the_end(runner, waits, cluster.scheduler)
        with (
            pytest.raises(ClusterUnavailable, match="does not answer within 1 s"),
            cluster.runner(dask_worker_seconds=1),
        ):
            pass


def test_worker_keeps_the_memory_of_a_block_for_the_next_one(cluster: LocalCluster) -> None:
    """Dask's nanny would return it to the system, which took a quarter of the time of a block."""
    children = psutil.Process(cluster.workers[-1].process.pid).children(recursive=True)
    environments = [child.environ() for child in children if "spawn_main" in " ".join(child.cmdline())]
    limits = [(env["MALLOC_MMAP_THRESHOLD_"], env["MALLOC_TRIM_THRESHOLD_"]) for env in environments]
    assert limits == [(str(32 * 2**20), str(256 * 2**20))]
