"""Experiments with the flows: both variants are published each day, and what happens when something fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.database import connect
from flows import experiment, recommend, retrain, rollback
from recommender.publishing import experiments, retention
from tests.conftest import Query, url_of_database
from tests.integration.recommend.conftest import DatabaseCopy, FilledDatabase, UseDatabase, filled_database
from tests.integration.recommend.test_publications import NOW
from tests.integration.test_lineage import assert_runs_are_complete, completed, read, tables, write_events_to
from tests.publications import live_publication, quick_candidates, quick_settings

POPULARITY, EASE = 1, 2  # publications, and their model runs


@pytest.fixture(scope="module")
def two_models(
    taste_groups: FilledDatabase, prefect_server: None, postgres: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FilledDatabase]:
    """Popularity is live (publication 1), and EASE is kept (publication 2)."""
    folder = tmp_path_factory.mktemp("two_models") / "data"
    folder.mkdir()
    with filled_database(postgres, taste_groups.name, "two_models", taste_groups.world, folder) as template:
        with pytest.MonkeyPatch.context() as patch, quick_candidates():
            for name, value in quick_settings(url_of_database(postgres, template.name), folder).items():
                patch.setenv(name, value)
            assert recommend.main([]) == retrain.main([]) == rollback.main([str(POPULARITY)]) == 0
        yield template


@pytest.fixture
def place(two_models: FilledDatabase, use: UseDatabase) -> DatabaseCopy:
    return use(two_models)


def served(query: Query) -> tuple[Any, ...]:
    """The live publication, that of the treatment, and the outcome of the newest experiment."""
    ((live_id, control),) = query("select live_id, publication_id from ml.live_publications order by 1 desc limit 1")
    treatments = query("select publication_id from ml.experiment_publications where live_id = %s", live_id)
    ((outcome,),) = query("select outcome from ml.experiments order by experiment_id desc limit 1")
    return control, treatments[0][0] if treatments else None, outcome


def test_each_recommend_run_publishes_both_variants_until_one_is_promoted(
    place: DatabaseCopy, capfd: pytest.CaptureFixture[str]
) -> None:
    query = place.query
    assert experiment.main(["start", str(EASE), "--share", "0.3", "--why", "does EASE win?"]) == 0
    assert served(query) == (3, 4, None)
    assert recommend.main([]) == 0
    assert served(query) == (5, 6, None)
    models = query("select publication_id, model_run_id, status from ml.publications order by 1 desc limit 2")
    assert models == [(6, 2, "published"), (5, 1, "published")]
    with connect(place.database) as connection:
        assert retention.prune_publications(connection, keep=1, now=NOW) == 4
    assert query("select array_agg(publication_id order by 1) from ml.publications where pruned_at is null") == [
        ([5, 6],)
    ]

    capfd.readouterr()
    assert experiment.main(["status"]) == 0
    status = capfd.readouterr().out
    assert "popularity_by_genre (model run 1) against ease (model run 2) for 30% of users: does EASE win?" in status
    assert "served: publication 5 and, to users of the treatment, 6" in status

    assert experiment.main(["start", str(EASE)]) == 2
    assert "an experiment runs already" in capfd.readouterr().err
    assert experiment.main(["stop", "--promote"]) == 2
    assert "the treatment of experiment 1 is undecided, not better beyond chance" in capfd.readouterr().err
    assert experiment.main(["stop", "--promote", "--anyway", "--why", "ndcg rose"]) == 0
    assert served(query) == (6, None, "promoted")
    assert live_publication(query) == (6, 2, "ease", "published")
    assert experiment.main(["stop"]) == 2
    assert "no experiment runs" in capfd.readouterr().err
    assert recommend.main([]) == 0
    assert served(query) == (7, None, "promoted")


def test_lost_model_file_pauses_the_experiment_until_it_is_back(
    place: DatabaseCopy, capfd: pytest.CaptureFixture[str]
) -> None:
    assert experiment.main(["start", str(EASE)]) == 0
    file = place.data_dir / "models" / "model-2.npz"
    content = file.read_bytes()
    file.unlink()
    assert recommend.main([]) == 0
    assert "experiment 1 is paused, all users get the control" in capfd.readouterr().out
    assert served(place.query) == (5, None, None)
    assert experiment.main(["status"]) == 0
    assert "paused, all users get the control: the model file" in capfd.readouterr().out
    assert experiment.main(["stop", "--promote", "--anyway"]) == 1
    assert "its treatment has no current recommendations; run recommend first" in capfd.readouterr().err

    file.write_bytes(content)
    assert recommend.main([]) == 0
    assert served(place.query) == (6, 7, None)


def test_rollback_to_the_control_pauses_and_to_another_model_ends_the_experiment(place: DatabaseCopy) -> None:
    assert experiment.main(["start", str(EASE)]) == 0
    assert rollback.main([str(POPULARITY)]) == 0
    assert served(place.query) == (POPULARITY, None, None)
    assert recommend.main([]) == 0
    assert served(place.query) == (5, 6, None)
    assert rollback.main([str(EASE)]) == 0
    assert served(place.query) == (EASE, None, "superseded")


def test_training_that_publishes_ends_the_experiment(place: DatabaseCopy) -> None:
    assert experiment.main(["start", str(EASE)]) == 0
    assert retrain.main([]) == 0  # EASE wins against popularity again
    control, treatment, outcome = served(place.query)
    assert (treatment, outcome) == (None, "superseded")
    assert live_publication(place.query) == (control, 3, "ease", "published")


def test_experiment_needs_a_publication_of_another_model(
    place: DatabaseCopy, capfd: pytest.CaptureFixture[str]
) -> None:
    for publication_id, message in (
        ("99", "there is no publication 99"),
        (str(POPULARITY), "publication 1 is of the live model"),
    ):
        assert experiment.main(["start", publication_id]) == 2
        assert message in capfd.readouterr().err
    (place.data_dir / "models" / "model-2.npz").unlink()
    assert experiment.main(["start", str(EASE)]) == 1
    assert "model-2.npz" in capfd.readouterr().err
    with connect(place.database) as connection:
        assert experiments.newest_experiment(connection) is None


def test_end_of_an_experiment_is_in_the_lineage(
    place: DatabaseCopy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert experiment.main(["start", str(EASE)]) == 0
    events_file = write_events_to(tmp_path / "events.jsonl", monkeypatch)
    assert experiment.main(["stop"]) == 0
    events = read(events_file)
    assert_runs_are_complete(events, "experiment")
    switched = completed(events)["experiment.switch_publication"]
    assert "ml.current_recommendations" in tables(switched["outputs"])
