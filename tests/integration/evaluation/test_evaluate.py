"""`python -m recommender.evaluate`: every model is measured on test, and chosen on train alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from core.errors import InteractionsError, ModelError
from recommender import evaluate as command
from recommender.data.interactions import Interactions
from recommender.evaluate import EmptyHoldout, evaluate, main
from recommender.evaluation.model_search import ModelSearchSettings
from recommender.evaluation.splitting import split_by_user
from recommender.evaluation.trials import TrialLimits
from recommender.models.als import ALS
from recommender.models.ease import EASE
from recommender.models.popularity import Popularity
from recommender.models.registry import CANDIDATES, Candidate
from tests.unit.recommender import broken_models as broken
from tests.unit.recommender.worlds import tasteful

TWO_CANDIDATES = {"popularity": Candidate(Popularity), "ease": Candidate(EASE, {}, (({"ridge": 1.0},),))}
SEARCH = ModelSearchSettings(k=5)
# Fields that differ between runs.
VARYING_FIELDS = ("fit_seconds", "score_seconds", "peak_memory_mb")


def _files(folder: Path, kind: str = "csv", seed: int = 0) -> list[str]:
    """Write a train and a test file, and return the arguments for them."""
    world = tasteful(seed=seed)
    train, holdout = split_by_user(world, seed=seed)
    plays = train.plays.tocoo()
    rows, columns = plays.coords
    frames = {
        "train": pl.DataFrame(
            {"user_id": train.user_ids[rows], "track_id": train.track_ids[columns], "plays": plays.data}
        ),
        "test": pl.DataFrame({"user_id": np.repeat(holdout.users, holdout.sizes), "track_id": holdout.tracks}),
    }
    arguments = []
    for name, frame in frames.items():
        path = folder / f"{name}.{kind}"
        frame.write_csv(path) if kind == "csv" else frame.write_parquet(path)
        arguments += [f"--{name}", str(path)]
    return arguments


def _without_times(report: dict[str, Any]) -> dict[str, Any]:
    models = {
        name: {key: value for key, value in model.items() if key not in VARYING_FIELDS}
        for name, model in report["models"].items()
    }
    return report | {"models": models}


def _run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    code = main([*arguments, "--json"])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    report: dict[str, Any] = json.loads(printed.out)
    return report, printed.err


def test_json_output_has_every_model_and_is_the_same_for_csv_and_parquet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "CANDIDATES", TWO_CANDIDATES)
    report, progress = _run([*_files(tmp_path, "csv"), "--k", "5"], capsys)
    assert report["chosen"] == "ease"
    assert report["k"] == 5
    assert list(report["models"]) == ["ease", "popularity"]
    assert set(report["models"]["ease"]) == {
        "recall",
        "ndcg",
        "coverage",
        "novelty",
        "intra_list_diversity",
        "popularity_bias",
        "settings",
        *VARYING_FIELDS,
    }
    assert report["models"]["ease"]["ndcg"] > report["models"]["popularity"]["ndcg"]
    assert report["out"] == {}
    assert report["left_out"] == 0
    assert "model search on" in progress
    second_report, _ = _run([*_files(tmp_path, "parquet"), "--k", "5"], capsys)
    assert _without_times(second_report) == _without_times(report)


def test_every_model_in_the_registry_can_be_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tracks = tmp_path / "tracks.csv"
    tracks.write_text("track_id,artist\n" + "".join(f"{track},{'ABCD'[track % 4]}\n" for track in range(60)))
    report, _ = _run([*_files(tmp_path), "--tracks", str(tracks), "--k", "5", "--trials", "1"], capsys)
    assert report["out"] == {}
    assert set(report["models"]) == set(CANDIDATES)
    assert report["models"][report["chosen"]]["ndcg"] > report["models"]["popularity"]["ndcg"]
    assert report["validation"]["skipped"]


def test_models_that_need_item_attributes_fail_without_a_tracks_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*_files(tmp_path), "--trials", "1", "--model", "popularity", "ease", "content", "ease_content"]
    report, progress = _run(arguments, capsys)
    assert set(report["models"]) == {"popularity", "ease"}
    assert report["out"] == {
        "content": "content needs artists or genres of tracks",
        "ease_content": "has the member content, which failed",
    }
    assert progress.count("content") == 2  # one progress line for the trial, one for its failure


def test_unplayed_track_of_a_known_artist_can_be_recommended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Each artist has five users. Each user plays three of four tracks, and later the new one.
    users, artists = range(20), "ABCD"
    plays = [(user, 10 * (user % 4) + (user // 4 + offset) % 4) for user in users for offset in range(3)]
    for name, pairs in (("train", plays), ("test", [(user, 10 * (user % 4) + 9) for user in users])):
        (tmp_path / f"{name}.csv").write_text("user_id,track_id\n" + "".join(f"{u},{t}\n" for u, t in pairs))
    tracks = "".join(f"{10 * artist + number},{artists[artist]}\n" for artist in range(4) for number in (0, 1, 2, 3, 9))
    (tmp_path / "tracks.csv").write_text("track_id,artist\n" + tracks)
    files = [f"--{name}={tmp_path / name}.csv" for name in ("train", "test", "tracks")]
    report, _ = _run([*files, "--k", "2", "--model", "popularity", "content", "--trials", "1"], capsys)
    assert report["models"]["content"]["recall"] == 1
    assert report["models"]["popularity"]["recall"] == 0


def test_train_with_times_is_split_by_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Users play one of two groups of tracks, and on the last day two tracks that nobody played before.
    monkeypatch.setattr(command, "CANDIDATES", TWO_CANDIDATES)
    random = np.random.default_rng(0)
    lines = [
        f"{user},{track},2024-03-0{1 + int(random.integers(8))}"
        for user in range(200)
        for track in range(user % 2, 40, 2)
        if random.random() < 0.5
    ]
    lines += [f"{user},{track},2024-03-09" for user in range(200) for track in (50, 51)]
    (tmp_path / "train.csv").write_text("user_id,track_id,at\n" + "\n".join(lines))
    (tmp_path / "test.csv").write_text("user_id,track_id\n" + "".join(f"{user},52\n{user},50\n" for user in range(200)))
    files = [f"--{name}={tmp_path / name}.csv" for name in ("train", "test")]
    report, _ = _run([*files, "--k", "5", "--time-column", "at"], capsys)
    assert report["validation"]["split"].startswith("split by time at 2024-03-0")
    assert report["validation"]["users"] > 100
    repeated, _ = _run([*files, "--k", "5", "--time-column", "at"], capsys)
    assert _without_times(repeated) == _without_times(report)
    without_times, _ = _run([*files, "--k", "5", "--trials", "1"], capsys)
    assert without_times["validation"]["split"] == "split at random"
    assert main([*files, "--time-column", "when"]) == 2
    assert "no column when; correct --time-column" in capsys.readouterr().err


def test_table_output_names_the_chosen_and_the_failed_models(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "CANDIDATES", TWO_CANDIDATES | {"raises": Candidate(broken.Raises)})
    assert main([*_files(tmp_path), "--k", "5"]) == 0
    printed = capsys.readouterr().out
    assert "recall@5  ndcg@5  coverage  novelty  diversity  bias" in printed
    assert "ease (chosen)" in printed
    assert "excluded: raises, raised KeyError at broken_models.py" in printed
    assert "119 users evaluated; 0 users of test" in printed or "120 users evaluated; 0 users of test" in printed


def test_metrics_on_test_match_values_calculated_by_hand() -> None:
    # Users 1 and 2 played tracks 1 and 2; the model recommends 9, 8, 7 ... User 3 is not in train.
    # User 2 played nothing new.
    train = Interactions.from_pairs([1, 1, 2, 2, 5], [1, 2, 1, 2, 3], catalogue=range(10))
    test = Interactions.from_pairs([1, 1, 1, 2, 3, 5], [1, 8, 77, 2, 9, 9])
    report = evaluate(train, test, {"knows": Candidate(broken.Knows)}, ModelSearchSettings(k=2)).as_json()
    model = report["models"]["knows"]
    # The holdout of user 1 is 8 and 77, with 8 on rank 2. The holdout of user 5 is 9, on rank 1.
    assert model["recall"] == (1 / 2 + 1) / 2
    rank_2 = 1 / np.log2(3)
    assert model["ndcg"] == pytest.approx((rank_2 / (1 + rank_2) + 1) / 2)
    assert model["coverage"] == 2 / 10
    assert model["novelty"] == pytest.approx(np.log2(3))
    assert (report["users"], report["left_out"]) == (2, 1)


def test_choice_does_not_depend_on_test() -> None:
    candidates = {
        "up": Candidate(broken.Knows, {"upwards": True}),
        "down": Candidate(broken.Knows, {"upwards": False}),
    }
    random = np.random.default_rng(0)
    train = Interactions.from_pairs(
        np.repeat(np.arange(40), 5), random.integers(60, 100, size=200), catalogue=range(100)
    )
    for later in (range(60), range(100)):
        test = Interactions.from_pairs(np.repeat(np.arange(40), len(later)), np.tile(later, 40))
        report = evaluate(train, test, candidates, SEARCH)
        assert report.chosen == "up"
    assert report.trials["up"].measures.mean_ndcg > 0
    worst = Interactions.from_pairs(np.repeat(np.arange(40), 60), np.tile(range(60), 40))
    assert evaluate(train, worst, candidates, SEARCH).trials["up"].measures.mean_ndcg == 0


def test_popularity_is_chosen_when_all_remaining_models_fail() -> None:
    candidates = {
        "popularity": Candidate(Popularity),
        "raises": Candidate(broken.Raises),
        "eats_memory": Candidate(broken.EatsMemory),
    }
    train, holdout = split_by_user(tasteful())
    test = Interactions.from_pairs(np.repeat(holdout.users, holdout.sizes), holdout.tracks)
    report = evaluate(train, test, candidates, ModelSearchSettings(k=5, limits=TrialLimits(memory_mb=400)))
    assert report.chosen == "popularity"
    assert set(report.failed_models) == {"raises", "eats_memory"}


def test_next_model_is_chosen_when_the_best_fails_on_all_of_train() -> None:
    train, test = (
        Interactions.from_pairs([1, 1, 2, 2], [8, 9, 8, 9], catalogue=range(10)),
        Interactions.from_pairs([1], [7]),
    )
    candidates = {"fails": Candidate(broken.FailsOnFour), "popularity": Candidate(Popularity)}
    report = evaluate(train, test, candidates, SEARCH)
    assert report.selection.chosen.model == "fails"
    assert report.chosen == "popularity"
    assert report.failed_models == {"fails": "fails_on_four cannot take four plays"}


def test_equal_plays_and_a_user_who_played_all_tracks_are_measured() -> None:
    users, tracks = np.divmod(np.arange(200), 10)
    keep = (users == 0) | ((users + tracks) % 3 != 0)
    train = Interactions.from_pairs(users[keep], tracks[keep])
    test = Interactions.from_pairs([*users[~keep], 0], [*tracks[~keep], 3])
    report = evaluate(train, test, {"popularity": Candidate(Popularity), "als": Candidate(ALS)}, SEARCH)
    assert not report.failed_models
    assert 0 not in report.holdout.users
    assert report.trials["popularity"].measures.mean_recall == 1  # each user has at most four unplayed tracks


def test_one_user_and_one_track_have_no_holdout() -> None:
    one_play = Interactions.from_pairs([1], [1])
    with pytest.raises(EmptyHoldout, match="0 are not in train, and 1 played only tracks"):
        evaluate(one_play, one_play, TWO_CANDIDATES, SEARCH)
    with pytest.raises(EmptyHoldout, match="no user played two or more tracks"):
        evaluate(one_play, Interactions.from_pairs([1], [2]), TWO_CANDIDATES, SEARCH)
    with pytest.raises(EmptyHoldout, match="can be evaluated: 1 are not in train"):
        evaluate(one_play, Interactions.from_pairs([2], [1]), TWO_CANDIDATES, SEARCH)


def test_one_user_with_a_few_tracks_is_measured() -> None:
    train = Interactions.from_pairs([1, 1, 1], [1, 2, 3])
    report = evaluate(train, Interactions.from_pairs([1], [4]), {"popularity": Candidate(Popularity)}, SEARCH)
    assert report.trials["popularity"].measures.mean_recall == 0


def test_empty_train_and_failed_models_are_refused() -> None:
    with pytest.raises(InteractionsError, match="train has no plays"):
        evaluate(Interactions.from_pairs([], []), Interactions.from_pairs([1], [1]), TWO_CANDIDATES, SEARCH)
    train, test = Interactions.from_pairs([1, 1], [1, 2]), Interactions.from_pairs([1], [3])
    with pytest.raises(ModelError, match="every model failed"):
        evaluate(train, test, {"raises": Candidate(broken.Raises)}, SEARCH)


@pytest.mark.parametrize(
    ("train", "test", "code", "expected_error"),
    [
        (
            "user_id,track_id\n",
            "user_id,track_id\n1,2\n",
            2,
            "error: train has no plays to learn from",
        ),
        ("user_id,track_id\n1,2\n", "user_id,track_id\n2,2\n", 1, "error: no user of test can be evaluated"),
        (
            "user_id,track_id\n1,x\n",
            "user_id,track_id\n2,2\n",
            2,
            "train.csv: track_id in row 1 is 'x', not an integer",
        ),
        ("user_id,track_id,plays\n1,2,-1\n", "user_id,track_id\n2,2\n", 2, "train.csv: plays in row 1 is '-1'"),
        ("user_id,track_id\n1,2\n", "user_id,track\n2,2\n", 2, "test.csv: no column track_id, only user_id, track"),
    ],
)
def test_failure_prints_one_line_and_sets_the_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], train: str, test: str, code: int, expected_error: str
) -> None:
    (tmp_path / "train.csv").write_text(train)
    (tmp_path / "test.csv").write_text(test)
    assert main(["--train", str(tmp_path / "train.csv"), "--test", str(tmp_path / "test.csv"), "--json"]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert expected_error in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "expected_error"),
    [
        (["--model", "oracle"], "choose from 'popularity'"),
        (["--k", "0"], "'0' is not a whole number of 1 or more"),
        (["--k", "-3"], "'-3' is not a whole number of 1 or more"),
        (["--seed", "x"], "'x' is not a whole number of 0 or more"),
        (["--time-limit", "0"], "'0' is not a number above 0"),
        (["--memory-mb", "inf"], "'inf' is not a number above 0"),
        (["--diversity", "2"], "'2' is not a number from 0 to 1"),
    ],
)
def test_wrong_arguments_are_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], expected_error: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--train", "a.csv", "--test", "b.csv", *arguments])
    assert caught.value.code == 2
    assert expected_error in capsys.readouterr().err


def test_diversity_trades_ndcg_for_coverage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "CANDIDATES", {"popularity": Candidate(Popularity)})
    arguments = [*_files(tmp_path), "--k", "5"]
    plain, reranked = (
        _run([*arguments, "--diversity", strength], capsys)[0]["models"]["popularity"] for strength in ("0", "0.5")
    )
    assert reranked["coverage"] > 1.5 * plain["coverage"]
    assert reranked["popularity_bias"] < plain["popularity_bias"]
    assert 0 < plain["intra_list_diversity"] < 1


def test_only_the_given_models_are_evaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report, _ = _run([*_files(tmp_path), "--model", "popularity", "--model", "popularity_by_genre"], capsys)
    assert set(report["models"]) == {"popularity", "popularity_by_genre"}


def test_k_may_exceed_the_number_of_tracks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report, _ = _run([*_files(tmp_path), "--model", "popularity", "--k", "1000000"], capsys)
    assert report["models"]["popularity"]["recall"] == 1
