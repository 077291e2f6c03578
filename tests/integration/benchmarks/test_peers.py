"""The benchmark of peers fits each library in its own process, and measures all lists alike."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers import PEERS, FittedPeer, Peer, PeerRunner, measure
from recommender.evaluation.metrics import measure_ranking
from recommender.evaluation.splitting import split_by_user
from recommender.models.als import ALS
from recommender.models.base import Recommender
from recommender.models.popularity import Popularity
from tests.unit.recommender.worlds import tasteful

SPLIT = split_by_user(tasteful(), share=0.3)
RUNNER = PeerRunner(Path(sys.executable))
OURS = Peer("moovitamix", [{"model": "als", "settings": {"factors": 8}}, {"model": "popularity", "settings": {}}])


@pytest.mark.parametrize(
    ("peer", "model"), [(OURS, ALS(factors=8)), (PEERS["popularity"], Popularity())], ids=["ours", "popularity"]
)
def test_lists_of_the_process_are_measured_like_those_of_evaluate(peer: Peer, model: Recommender) -> None:
    train, holdout = SPLIT
    fitted = RUNNER.fit(peer, peer.settings[0], train, holdout)
    assert isinstance(fitted, FittedPeer)
    ranking = model.fit(train).recommend(holdout.users, 20, train)
    expected = measure_ranking(ranking, holdout, train, 20).mean_ndcg
    assert measure(fitted, holdout, train).mean_ndcg == pytest.approx(expected, abs=0.01)
    assert fitted.cost["fit_seconds"] >= 0
    assert fitted.cost["peak_mb"] > 10


@pytest.mark.parametrize("name", ["implicit ALS", "implicit BPR", "implicit BM25"])
def test_peers_recommend_no_played_tracks(name: str) -> None:
    train, holdout = SPLIT
    fitted = RUNNER.fit(PEERS[name], PEERS[name].settings[0], train, holdout)
    assert isinstance(fitted, FittedPeer)
    rows = np.repeat(train.user_rows(holdout.users), fitted.columns.shape[1])
    assert not train.plays[rows, fitted.columns.ravel()].sum()


def test_settings_are_chosen_by_ndcg_on_validation() -> None:
    settings, lines = RUNNER.choose(OURS, *SPLIT)
    assert settings["model"] == "als"
    assert len(lines) == 2


def test_failed_fit_is_one_line() -> None:
    failed = RUNNER.fit(Peer("implicit", []), {"model": "als", "unknown": 1}, *SPLIT)
    assert isinstance(failed, str)
    assert "unknown" in failed
    assert RUNNER.choose(Peer("nothing", [{}, {}]), *SPLIT) == ({}, [": KeyError: 'nothing'"])
