"""The flow retrain: promotion decisions, publications, failures, and no use of later plays."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from core.database import connect, take_training_lock, take_warehouse_lock
from core.file_store import FolderStore
from flows import recommend, retrain
from recommender.data import mart_reader
from recommender.evaluation import promotion
from recommender.evaluation.promotion import PromotionSettings
from recommender.evaluation.trials import TrialLimits
from recommender.models.ease import EASE
from recommender.models.popularity import GenrePopularity, Popularity
from recommender.models.registry import Candidate
from recommender.publishing import publication, retention
from tests.integration.recommend.conftest import DatabaseCopy, FilledDatabase, UseDatabase
from tests.publications import PER_USER, live_publication, live_recommendations, recommendation_tables
from tests.unit.recommender import broken_models as broken
from tests.warehouse_data import BATCHES, NEWEST, Session, add_sessions, taste_group_of

Capture = pytest.CaptureFixture[str]


def model_run(place: DatabaseCopy, number: int) -> dict[str, Any]:
    """One row of ml.model_runs."""
    (row,) = place.query("select to_jsonb(run) from ml.model_runs as run where model_run_id = %s", number)
    content: dict[str, Any] = row[0]
    return content


def test_users_with_tastes_get_personal_recommendations(trained_groups: FilledDatabase, use: UseDatabase) -> None:
    place = use(trained_groups)

    assert live_publication(place.query) == (1, 1, "ease", "published")
    run = model_run(place, 1)
    assert run["model_file"] == "model-1.npz"
    assert (place.data_dir / "models" / "model-1.npz").is_file()
    assert run["batches"] == sorted(BATCHES)
    assert run["code_version"] == "v-test"
    assert datetime.fromisoformat(run["data_as_of"]) - NEWEST < timedelta(seconds=1)
    assert "against popularity: better" in run["why"]
    figures = run["metrics"]
    assert set(figures["models"]) == {"ease", "popularity", "popularity_by_genre"}
    assert figures["gate"]["popularity"]["lower"] > 0
    assert figures["listeners_choosing"] + figures["listeners_judging"] > 50
    lists = live_recommendations(place.query)
    assert lists.keys() == place.world.users.keys()
    for user, tracks in lists.items():
        assert len(tracks) == PER_USER
        assert {taste_group_of(track) for track in tracks[:3]} == {taste_group_of(user)}
        assert not place.world.played_tracks(user) & set(tracks)


def test_every_recommendation_can_be_traced(trained_groups: FilledDatabase, use: UseDatabase) -> None:
    place = use(trained_groups)
    count_statement = "select count(*) from ml.recommendation_trace"
    assert place.query(count_statement) == [(len(place.world.users) * PER_USER,)]
    ((trace,),) = place.query("select to_jsonb(t) from ml.recommendation_trace as t where user_id = 7 and rank = 2")
    assert trace["model_run_id"] == 1
    assert trace["model"] == "ease"
    assert trace["list_batches"] == trace["model_batches"] == sorted(BATCHES)
    assert trace["list_audit"] == {"expectations": 14, "failed_critical": 0, "failed_warning": 0}
    audit = {"expectations": 2, "failed_critical": 0, "failed_warning": 1}
    assert trace["data_audits"] == dict.fromkeys(BATCHES, audit)


def test_champion_stays_after_training_on_the_same_plays(
    trained_groups: FilledDatabase, use: UseDatabase, capfd: Capture
) -> None:
    place = use(trained_groups)
    before = live_recommendations(place.query), recommendation_tables(place.query)

    assert retrain.main([]) == 0

    output, err = capfd.readouterr()
    assert output.startswith("model run 2: kept: the champion stays (")
    assert err == ""
    run = model_run(place, 2)
    assert (run["decision"], run["model_file"]) == ("kept", None)
    assert "against the champion: no win: the difference is +0.0000 for every user" in run["why"]
    assert run["metrics"]["champion"]["how"] == "its recipe, trained again"
    assert live_publication(place.query) == (1, 1, "ease", "published")
    assert place.query("select count(*) from ml.publications") == [(1,)]
    assert (live_recommendations(place.query), recommendation_tables(place.query)) == before
    assert not list(place.data_dir.glob("models/model-2*"))


def test_popularity_is_published_when_no_model_is_better(
    no_taste: FilledDatabase, use: UseDatabase, capfd: Capture
) -> None:
    place = use(no_taste)

    assert retrain.main([]) == 0

    assert live_publication(place.query) == (1, 1, "popularity_by_genre", "fallback")
    output = capfd.readouterr().out
    assert "no model is better than popularity, so popularity by genre is published" in output
    assert model_run(place, 1)["why"] in output
    # Popularity is no champion, so it is published again.
    assert retrain.main([]) == 0
    assert live_publication(place.query) == (2, 2, "popularity_by_genre", "fallback")


def without_seconds(metrics: dict[str, Any]) -> dict[str, Any]:
    """The metrics of a training without durations and memory."""
    costs = ("fit_seconds", "score_seconds", "peak_memory_mb")
    models = {
        model: {name: value for name, value in figures.items() if name not in costs}
        for model, figures in metrics["models"].items()
    }
    return metrics | {"models": models}


def test_same_plays_and_seed_give_same_recommendations_and_figures(
    taste_groups: FilledDatabase, trained_groups: FilledDatabase, use: UseDatabase
) -> None:
    first, second = use(trained_groups), use(taste_groups)
    assert retrain.main([]) == 0

    rows = "select user_id, rank, track_id, score from ml.current_recommendations order by 1, 2"
    assert first.query(rows) == second.query(rows)
    near = "select track_id, rank, similar_track_id, score from ml.similar_tracks order by 1, 2"
    assert first.query(near) == second.query(near)
    first_run, second_run = model_run(first, 1), model_run(second, 1)
    assert without_seconds(first_run["metrics"]) == without_seconds(second_run["metrics"])
    assert first_run["why"] == second_run["why"]
    assert first_run["model_digest"] == second_run["model_digest"]
    other_seed = use(taste_groups)
    assert retrain.main(["--seed", "1"]) == 0
    assert model_run(other_seed, 1)["seed"] == 1
    assert without_seconds(model_run(other_seed, 1)["metrics"]) != without_seconds(first_run["metrics"])


def test_plays_after_as_of_are_not_learned_from(taste_groups: FilledDatabase, use: UseDatabase, capfd: Capture) -> None:
    moment = NEWEST - timedelta(weeks=2)
    cut = use(taste_groups)
    with connect(cut.database) as connection:
        connection.execute("delete from warehouse.listen_history_tracks where created_at >= %s", [moment])

    assert retrain.main(["--as-of", moment.replace(tzinfo=None).isoformat()]) == 0
    with_future = use(taste_groups)
    assert retrain.main(["--as-of", moment.isoformat()]) == 0

    first_run, second_run = model_run(cut, 1), model_run(with_future, 1)
    assert first_run["model_digest"] == second_run["model_digest"]
    assert without_seconds(first_run["metrics"]) == without_seconds(second_run["metrics"])
    assert datetime.fromisoformat(second_run["data_as_of"]) <= moment


def test_as_of_in_the_future_is_refused(taste_groups: FilledDatabase, use: UseDatabase, capfd: Capture) -> None:
    place = use(taste_groups)
    assert retrain.main(["--as-of", "2999-01-01"]) == 2
    assert capfd.readouterr().err == (
        "error: --as-of 2999-01-01 00:00 UTC lies in the future; omit it to use all plays\n"
    )
    assert place.query("select count(*) from ml.model_runs") == [(0,)]


@pytest.mark.parametrize("moment", ["0001-01-01", "0001-01-01T00:00+14:00", "1970-01-01"])
def test_as_of_before_all_plays_is_refused(
    moment: str, taste_groups: FilledDatabase, use: UseDatabase, capfd: Capture
) -> None:
    use(taste_groups)
    code = retrain.main(["--as-of", moment])
    err = capfd.readouterr().err
    assert code in (1, 2)
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "unexpected" not in err


def test_rollback_during_training_is_not_overwritten(
    trained_groups: FilledDatabase, use: UseDatabase, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    place = use(trained_groups)
    assert recommend.main([]) == 0
    real = promotion.decide_promotion

    def roll_back_meanwhile(*arguments: Any) -> promotion.PromotionDecision:
        with connect(place.database) as connection:
            publication.roll_back(connection, 1, now=datetime.now(UTC), why="by hand")
        decision = real(*arguments)
        return replace(decision, decision="published")

    monkeypatch.setattr(promotion, "decide_promotion", roll_back_meanwhile)

    assert retrain.main([]) == 1

    assert "publication 1 went live during the training" in capfd.readouterr().err
    assert live_publication(place.query) == (1, 1, "ease", "published")
    assert model_run(place, 2)["decision"] == "failed"


def test_refresh_during_training_is_replaced(
    trained_groups: FilledDatabase, use: UseDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = use(trained_groups)
    real = promotion.decide_promotion

    def refresh_meanwhile(*arguments: Any) -> promotion.PromotionDecision:
        decision = real(*arguments)
        patch.undo()
        assert recommend.main([]) == 0
        return replace(decision, decision="published")

    patch = pytest.MonkeyPatch()
    patch.setattr(promotion, "decide_promotion", refresh_meanwhile)
    try:
        assert retrain.main([]) == 0
    finally:
        patch.undo()
    assert place.query(
        "select publication_id, model_run_id from ml.live_publications join ml.publications using"
        " (publication_id) order by live_id"
    ) == [(1, 1), (2, 1), (3, 2)]


def test_champion_older_than_the_holdout_is_evaluated_as_it_is_live(
    trained_groups: FilledDatabase, use: UseDatabase
) -> None:
    place = use(trained_groups)
    later = NEWEST + timedelta(weeks=3)
    random = np.random.default_rng(1)
    with connect(place.database) as connection:
        sessions = [
            Session(user, later, tuple(int(2 * track + taste_group_of(user)) for track in random.integers(1, 40, 8)))
            for user in place.world.users
        ]
        add_sessions(connection, sessions)

    assert retrain.main([]) == 0

    champion = model_run(place, 2)["metrics"]["champion"]
    assert champion["how"] == "as it is live"
    assert champion["ndcg"] > 0.1


def test_failure_after_publishing_keeps_the_live_publication(
    taste_groups: FilledDatabase, use: UseDatabase, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    place = use(taste_groups)

    def no_right(*_: Any, **__: Any) -> int:
        raise PermissionError(13, "Permission denied", "model-0.npz")

    monkeypatch.setattr(retention, "prune_model_files", no_right)

    assert retrain.main([]) == 1

    assert "cannot be written or read: Permission denied (model-0.npz)" in capfd.readouterr().err
    assert live_publication(place.query) == (1, 1, "ease", "published")
    assert model_run(place, 1)["model_file"] == "model-1.npz"
    monkeypatch.undo()


def test_blocked_training_is_recorded_everywhere(
    taste_groups: FilledDatabase, use: UseDatabase, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    place = use(taste_groups)
    for name in ("THRESHOLD_MIN_COVERAGE", "THRESHOLD_WARN_COVERAGE", "RECOMMENDATIONS_PER_USER"):
        monkeypatch.setenv(name, "1")

    assert retrain.main([]) == 1

    assert capfd.readouterr().err.splitlines()[-1].startswith("error: recommendations-1 blocked: coverage ")
    run = model_run(place, 1)
    assert (run["decision"], run["model"], run["model_file"]) == ("blocked", "ease", None)
    assert run["metrics"]["gate"]["popularity"]["lower"] > 0
    assert "coverage" in run["why"]
    assert live_publication(place.query) is None
    assert "staging.recommendations_1" in recommendation_tables(place.query)


def test_second_training_is_refused_while_the_first_runs(
    taste_groups: FilledDatabase, use: UseDatabase, capfd: Capture
) -> None:
    place = use(taste_groups)
    with connect(place.database) as connection:
        take_training_lock(connection, 0)
        assert retrain.main([]) == 1
        assert capfd.readouterr().err.splitlines()[-1] == (
            "error: another training is at work (waited 1 s); wait for it, or raise LOCK_WAIT_SECONDS"
        )
        assert recommend.main([]) == 0  # recommend needs no training lock
    assert place.query("select count(*) from ml.model_runs where decision = 'running'") == [(0,)]


def test_training_waits_for_an_ingest_only_to_publish(
    taste_groups: FilledDatabase, use: UseDatabase, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    place = use(taste_groups)
    with connect(place.database) as ingest:
        take_warehouse_lock(ingest, 0)
        assert retrain.main([]) == 1
        assert "another run is at work (waited 1 s)" in capfd.readouterr().err
        assert model_run(place, 1)["metrics"]["models"]
        assert live_publication(place.query) is None
        release = threading.Timer(4, ingest.close)
        release.start()
        monkeypatch.setenv("LOCK_WAIT_SECONDS", "600")
        assert retrain.main([]) == 0
        release.join()
    assert live_publication(place.query) == (1, 2, "ease", "published")


def test_last_feedback_before_the_split_time_counts(taste_groups: FilledDatabase, use: UseDatabase) -> None:
    place = use(taste_groups)
    with connect(place.database) as connection:
        for number in (1, 2):
            connection.execute(
                "insert into ml.model_runs (model, seed, data_as_of, batches, code_version, decision, started_at)"
                " values ('m', 0, '2024-05-01', '{}', 'v', 'kept', '2024-05-01')"
            )
            connection.execute(
                "insert into ml.publications (model_run_id, flow, status, data_as_of, batches, made_at)"
                " values (%s, 'test', 'staged', '2024-05-01', '{}', '2024-05-01')",
                [number],
            )
        connection.execute("insert into serving.api_keys values ('k', 'n', 'x', '{}', '2024-05-01')")
        for user, track, seen_in, useful, day in (
            (1, 3, 1, False, 1),  # not useful
            (2, 4, 1, False, 1),  # not useful, then useful
            (2, 4, 2, True, 3),
            (3, 5, 1, True, 1),  # useful, then not useful
            (3, 5, 2, False, 5),
            (4, 6, None, False, 9),  # later
        ):
            at = NEWEST + timedelta(days=day)
            connection.execute(
                "insert into ml.feedback values (%s, %s, %s, %s, 'k', %s, %s)", [user, track, seen_in, useful, at, at]
            )
        early = mart_reader.read_play_log(connection, NEWEST + timedelta(days=4), 28).not_useful
        late = mart_reader.read_plays(connection, NEWEST + timedelta(days=10)).not_useful
    assert sorted(zip(early.users.tolist(), early.tracks.tolist(), strict=True)) == [(1, 3)]
    assert sorted(zip(late.users.tolist(), late.tracks.tolist(), strict=True)) == [(1, 3), (3, 5), (4, 6)]
    assert early.given_at[0] == np.datetime64((NEWEST + timedelta(days=1)).replace(tzinfo=None))


def test_play_log_keeps_every_play_once_at_any_split(taste_groups: FilledDatabase, use: UseDatabase) -> None:
    place = use(taste_groups)
    end = NEWEST + timedelta(seconds=1)
    whole = np.datetime64(end.replace(tzinfo=None))
    with connect(place.database) as connection:
        all_plays = mart_reader.read_plays(connection, end).interactions(whole)
        for days in (1, 28, 3650):
            log = mart_reader.read_play_log(connection, end, days)
            assert log.interactions(whole).plays.sum() == all_plays.plays.sum() == 3 * len(place.world.sessions)
        log = mart_reader.read_play_log(connection, end, 28)
    for days in (1, 7, 28):
        moment = end - timedelta(days=days)
        split = np.datetime64(moment.replace(tzinfo=None))
        before = sum(len(session.tracks) for session in place.world.sessions if session.at < moment)
        assert log.interactions(split).plays.sum() == before
        assert log.interactions_from(split).plays.sum() == all_plays.plays.sum() - before


RULES = PromotionSettings(k=5, limits=TrialLimits(seconds=30), search_seconds=0.001)


def test_failed_candidates_are_reported_and_excluded_from_the_search(
    taste_groups: FilledDatabase, use: UseDatabase
) -> None:
    place = use(taste_groups)
    candidates = {
        Popularity.name: Candidate(Popularity),
        GenrePopularity.name: Candidate(GenrePopularity),
        "raises": Candidate(broken.Raises),
        "hangs": Candidate(broken.Hangs),
        "gives_nan": Candidate(broken.GivesNaN),
        "crashes": Candidate(broken.Crashes),
        EASE.name: Candidate(EASE),
    }
    with connect(place.database) as connection:
        log = mart_reader.read_play_log(connection, NEWEST + timedelta(seconds=1), 28)
    end = np.datetime64((NEWEST + timedelta(seconds=1)).replace(tzinfo=None), "s")

    decision = promotion.decide_promotion(log, end, None, FolderStore(place.data_dir), RULES, candidates)

    assert (decision.recipe.model, decision.decision) == ("ease", "published")
    output = decision.metrics["out"]
    assert set(output) == {"raises", "hangs", "gives_nan", "crashes"}
    assert output["hangs"] == "exceeded its time limit of 30 s"
    assert "KeyError" in output["raises"]
    assert "anna@example.org" not in str(decision.metrics)
    assert output["gives_nan"] == "returned scores that are not finite numbers"
    json.dumps(decision.metrics, allow_nan=False)  # Postgres refuses NaN in JSON


def test_popularity_by_genre_is_published_when_all_candidates_fail(
    taste_groups: FilledDatabase, use: UseDatabase
) -> None:
    place = use(taste_groups)
    with connect(place.database) as connection:
        log = mart_reader.read_play_log(connection, NEWEST + timedelta(seconds=1), 28)
    end = np.datetime64((NEWEST + timedelta(seconds=1)).replace(tzinfo=None), "s")

    decision = promotion.decide_promotion(
        log, end, None, FolderStore(place.data_dir), RULES, {"raises": Candidate(broken.Raises)}
    )

    assert (decision.recipe.model, decision.decision) == (GenrePopularity.name, "fallback")
    assert "every model failed: raises" in decision.why
