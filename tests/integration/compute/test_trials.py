"""Trials of candidates on a cluster: the same search as in the process, and models that end their worker."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from compute.blocks import IN_PROCESS, BlockRunner
from recommender.data.interactions import Interactions
from recommender.evaluation.model_search import ModelSearchResult, ModelSearchSettings, search_models
from recommender.evaluation.splitting import split_by_user
from recommender.models.chebyshev import ChebyshevFilter
from recommender.models.ease import EASE
from recommender.models.registry import CANDIDATES, Candidate
from tests.integration.compute.dask_processes import LocalCluster, local_cluster
from tests.integration.compute.failing_models import EndsItself, EndsItsWorker


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A scheduler with two workers; each may run one trial."""
    with local_cluster(tmp_path_factory.mktemp("cluster"), workers=2) as started:
        yield started


def plays() -> Interactions:
    """2,300 users and tracks, so that no matrix is solved exactly; users of two tastes."""
    random = np.random.default_rng(3)
    users = random.integers(0, 2_300, 30_000)
    tracks = (random.power(0.5, 30_000) * 1_150).astype(np.int64) * 2 + users % 2
    return Interactions.from_pairs(users, tracks, random.integers(1, 5, 30_000), known_users=np.arange(2_300))


def search(blocks: BlockRunner) -> ModelSearchResult:
    candidates = {
        "popularity": CANDIDATES["popularity"],
        "ease": Candidate(EASE, {"ridge": 3.0}, (({"ridge": 10.0},),)),
        "chebyshev": Candidate(ChebyshevFilter, {}, (({"rank": 64},),)),
        "ends_itself": Candidate(EndsItself),
    }
    split = split_by_user(plays(), seed=1, users=400)
    settings = ModelSearchSettings(diversity=0.3, blocks=blocks)
    return search_models(split.train, split.holdout, candidates, settings)


def figures(result: ModelSearchResult) -> list[tuple[str, str, bytes, bytes, tuple[float, ...]]]:
    """The tried settings in order, with NDCG and recall of every user, and the other metrics."""
    return [
        (
            trial.model,
            str(trial.params),
            measures.ndcg.tobytes(),
            measures.recall.tobytes(),
            (measures.coverage, measures.novelty, measures.intra_list_diversity, measures.popularity_bias),
        )
        for trial in result.tried
        for measures in [trial.measures]
    ]


def test_search_is_bit_identical_in_process_and_on_two_workers(cluster: LocalCluster) -> None:
    with cluster.runner() as runner:
        on_cluster = search(runner)
    in_process = search(IN_PROCESS)
    assert figures(on_cluster) == figures(in_process)
    assert len(on_cluster.tried) == 5, "directions were tried too"
    assert on_cluster.failed_models == in_process.failed_models == {"ends_itself": "crashed (SIGSEGV)"}
    leftovers = [path for path in cluster.folder.glob("worker-*/tmp/trials-*") if any(path.iterdir())]
    assert leftovers == []


def test_model_that_ends_its_worker_is_excluded_and_named(cluster: LocalCluster) -> None:
    split = split_by_user(plays(), seed=1, users=100)
    candidates = {"popularity": CANDIDATES["popularity"], "ends_its_worker": Candidate(EndsItsWorker)}
    with cluster.runner() as runner:
        settings = ModelSearchSettings(blocks=runner)
        result = search_models(split.train, split.holdout, candidates, settings)
    assert list(result.results) == ["popularity"]
    (reason,) = result.failed_models.values()
    assert reason == "try models: ends_its_worker {} ended the worker that computed it, twice"
