"""The contract of every model, tested on a matrix so small that the correct result is known."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from copy import deepcopy
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from core.errors import InteractionsError, ModelFileError
from recommender.data.interactions import Interactions
from recommender.models.base import Recommender
from recommender.models.popularity import Popularity
from tests.two_groups import FIRST_GROUP, TRACK_IDS, USER_IDS, group_of, played_by, same_ranking, two_groups


class RecommenderContract(ABC):
    """Contract tests. A subclass whose name begins with Test implements `make` and inherits all tests.

    `personal` states whether the ranking depends on the user's plays. Other models give every user the same ranking.
    """

    personal = True

    @abstractmethod
    def make(self) -> Recommender:
        """A new model with settings that suit twelve tracks."""

    @pytest.fixture
    def plays(self) -> Interactions:
        return two_groups()

    @pytest.fixture
    def fitted(self) -> Recommender:
        return deepcopy(_fitted(type(self)))

    def test_unplayed_tracks_of_the_users_group_rank_first(self, fitted: Recommender, plays: Interactions) -> None:
        ranking = fitted.recommend(USER_IDS, 2, exclude=plays)
        if self.personal:
            for row in range(len(USER_IDS)):
                assert set(ranking.ids[row]) == set(group_of(row)) - set(played_by(row))
        assert ranking.ids.shape == ranking.scores.shape == (len(USER_IDS), 2)
        assert (ranking.ids.dtype, ranking.scores.dtype) == (np.int64, np.float32)

    def test_rankings_have_no_excluded_or_repeated_track_and_descending_scores(
        self, fitted: Recommender, plays: Interactions
    ) -> None:
        ranking = fitted.recommend(USER_IDS, 8, exclude=plays)
        assert np.isfinite(ranking.scores).all()
        assert (np.diff(ranking.scores, axis=1) <= 0).all()
        for row in range(len(USER_IDS)):
            assert sorted(ranking.ids[row]) == sorted(set(TRACK_IDS) - set(played_by(row)))

    def test_played_tracks_are_recommended_without_exclusion(self, fitted: Recommender) -> None:
        assert sorted(fitted.recommend(USER_IDS[:1], 12).ids[0]) == sorted(TRACK_IDS)

    def test_unfilled_ranks_have_id_minus_1_and_score_minus_infinity(
        self, fitted: Recommender, plays: Interactions
    ) -> None:
        ranking = fitted.recommend(USER_IDS, 20, exclude=plays)
        assert (ranking.ids[:, :8] != -1).all()
        assert (ranking.ids[:, 8:] == -1).all()
        assert np.isneginf(ranking.scores[:, 8:]).all()

    def test_shorter_ranking_is_a_prefix_of_a_longer_ranking(self, fitted: Recommender, plays: Interactions) -> None:
        long = fitted.recommend(USER_IDS, 8, exclude=plays)
        for n in range(1, 8):
            assert (fitted.recommend(USER_IDS, n, exclude=plays).ids == long.ids[:, :n]).all()

    def test_users_keep_the_requested_order_and_repetitions(self, fitted: Recommender, plays: Interactions) -> None:
        assert fitted.recommend([], 3).ids.shape == (0, 3)
        rows = [7, 2, 2, 0]
        ranking = fitted.recommend(USER_IDS[rows], 3, exclude=plays)
        assert (ranking.ids == fitted.recommend(USER_IDS, 3, exclude=plays).ids[rows]).all()

    def test_user_unknown_or_without_plays(self, plays: Interactions) -> None:
        without_plays = 42
        model = self.make().fit(
            Interactions.from_pairs(
                [*USER_IDS[:2], *USER_IDS[:2]], [*TRACK_IDS[:2], *TRACK_IDS[2:4]], known_users=[without_plays]
            )
        )
        ranking = model.recommend([without_plays, 43, USER_IDS[0]], 3)
        if model.needs_plays:
            assert (ranking.ids[:2] == -1).all()
            assert np.isneginf(ranking.scores[:2]).all()
        else:
            assert (ranking.ids[:2] == ranking.ids[0]).all()
        assert ranking.ids[2, 0] != -1

    def test_user_who_played_every_track_gets_no_recommendation(self) -> None:
        plays = Interactions.from_pairs([1] * 12 + [2, 2], [*TRACK_IDS, *TRACK_IDS[:2]])
        ranking = self.make().fit(plays).recommend([1, 2], 3, exclude=plays)
        assert (ranking.ids[0] == -1).all()
        assert (ranking.ids[1] != -1).all()

    def test_single_user(self) -> None:
        plays = Interactions.from_pairs([5, 5], TRACK_IDS[:2], catalogue=TRACK_IDS)
        ranking = self.make().fit(plays).recommend([5], 3, exclude=plays)
        assert set(ranking.ids[0]) <= {*TRACK_IDS[2:], -1}

    def test_single_track(self) -> None:
        plays = Interactions.from_pairs([5, 6], [9, 9])
        model = self.make().fit(plays)
        assert model.recommend([5, 6], 2).ids.tolist() == [[9, -1], [9, -1]]
        assert (model.recommend([5, 6], 2, exclude=plays).ids == -1).all()

    @pytest.mark.parametrize("catalogue", [[], [1, 2, 3]])
    def test_no_interactions_gives_no_recommendations(self, catalogue: list[int], tmp_path: Path) -> None:
        empty = Interactions.from_pairs([], [], known_users=[7], catalogue=catalogue)
        model = self.make().fit(empty)
        assert (model.recommend([7, 8], 2, exclude=empty).ids == -1).all()
        model.save(tmp_path / "model.npz")
        loaded = type(model).load(tmp_path / "model.npz").fold_in(empty)
        assert (loaded.recommend([7], 2).ids == -1).all()

    def test_equal_play_counts(self) -> None:
        plays = two_groups()
        plays.plays.data[:] = 3
        ranking = self.make().fit(plays).recommend(USER_IDS, 2, exclude=plays)
        assert (ranking.ids != -1).all()

    def test_millions_of_plays_give_finite_scores(self) -> None:
        plays = two_groups(factor=10**7)
        assert np.isfinite(self.make().fit(plays).recommend(USER_IDS, 5, exclude=plays).scores).all()

    def test_tracks_without_plays_are_not_preferred(self) -> None:
        plays = two_groups()
        with_unplayed = plays.select_tracks(np.union1d(TRACK_IDS, [1, 2, 99]))
        ranking = self.make().fit(with_unplayed).recommend(USER_IDS, 2, exclude=with_unplayed)
        if self.personal:
            assert not np.isin(ranking.ids, [1, 2, 99]).any()
        assert np.isfinite(ranking.scores).all()

    def test_heavy_user_does_not_dominate_the_recommendations(self) -> None:
        base = two_groups()
        entries = base.plays.tocoo()
        plays = Interactions.from_pairs(
            [*base.user_ids[entries.coords[0]], *[77] * len(TRACK_IDS)],
            [*base.track_ids[entries.coords[1]], *TRACK_IDS],
            [*entries.data, *[100_000] * len(TRACK_IDS)],
        )
        ranking = self.make().fit(plays).recommend(USER_IDS, 2, exclude=plays)
        if self.personal:
            in_own_group = [np.isin(ranking.ids[row], group_of(row)).all() for row in range(len(USER_IDS))]
            assert all(in_own_group)

    def test_track_removed_from_the_catalogue_is_not_recommended(
        self, fitted: Recommender, plays: Interactions
    ) -> None:
        remaining = plays.select_tracks(TRACK_IDS[2:])
        ranking = fitted.fold_in(remaining).recommend(USER_IDS, 12)
        assert not np.isin(ranking.ids, TRACK_IDS[:2]).any()
        assert (ranking.ids[:, :10] != -1).all()

    def test_fitting_is_reproducible(self, fitted: Recommender, plays: Interactions) -> None:
        first = fitted.recommend(USER_IDS, 8, exclude=plays)
        assert same_ranking(first, self.make().fit(two_groups()).recommend(USER_IDS, 8, exclude=plays))
        assert same_ranking(first, fitted.fit(plays).recommend(USER_IDS, 8, exclude=plays))
        assert same_ranking(first, fitted.recommend(USER_IDS, 8, exclude=plays))

    def test_input_is_not_changed(self, plays: Interactions) -> None:
        original = two_groups()
        for array in (plays.plays.data, plays.plays.indices, plays.plays.indptr, plays.user_ids, plays.track_ids):
            array.flags.writeable = False
        self.make().fit(plays).fold_in(plays).recommend(USER_IDS, 5, exclude=plays)
        assert (plays.plays != original.plays).nnz == 0

    def test_unsorted_users_are_refused(self, fitted: Recommender, plays: Interactions) -> None:
        with pytest.raises(InteractionsError, match="order"):
            fitted.fold_in(plays.select_users(USER_IDS[::-1]))

    def test_new_user_gets_recommendations_without_training(self, fitted: Recommender) -> None:
        new_user = Interactions.from_pairs([123, 123, 123], FIRST_GROUP[:3], catalogue=TRACK_IDS)
        ranking = fitted.fold_in(new_user).recommend([123], 3, exclude=new_user)
        if self.personal:
            assert set(ranking.ids[0]) == set(FIRST_GROUP[3:])
        assert (ranking.ids != -1).all()

    def test_new_plays_change_the_ranking(self, fitted: Recommender, plays: Interactions) -> None:
        if self.personal:
            new_plays = Interactions.from_pairs([USER_IDS[0]] * 3, TRACK_IDS[1::2][:3], catalogue=TRACK_IDS)
            ranking = fitted.fold_in(new_plays).recommend(USER_IDS[:1], 3, exclude=new_plays)
            assert set(ranking.ids[0]) == set(TRACK_IDS[1::2][3:])

    def test_plays_of_untrained_tracks_are_ignored(self, fitted: Recommender) -> None:
        trained = Interactions.from_pairs([123] * 3, FIRST_GROUP[:3], catalogue=TRACK_IDS)
        with_untrained = Interactions.from_pairs([123] * 4, [*FIRST_GROUP[:3], 777], catalogue=TRACK_IDS)
        expected = fitted.fold_in(trained).recommend([123], 5)
        assert same_ranking(expected, fitted.fold_in(with_untrained).recommend([123], 5))

    def test_loaded_model_gives_the_same_recommendations(
        self, fitted: Recommender, plays: Interactions, tmp_path: Path
    ) -> None:
        fitted.save(tmp_path / "model.npz")
        loaded = type(fitted).load(tmp_path / "model.npz")
        assert (loaded.name, loaded.params) == (fitted.name, fitted.params)
        assert json.loads(json.dumps(dict(loaded.params))) == loaded.params
        if loaded.needs_plays:
            assert (loaded.recommend(USER_IDS, 3).ids == -1).all()  # the file has no users
        expected = fitted.recommend(USER_IDS, 8, exclude=plays)
        assert same_ranking(expected, loaded.fold_in(plays).recommend(USER_IDS, 8, exclude=plays))

    def test_model_file_is_reproducible(self, fitted: Recommender, tmp_path: Path) -> None:
        fitted.save(tmp_path / "first.npz")
        self.make().fit(two_groups()).save(tmp_path / "second.npz")
        contents = []
        for name in ("first", "second"):
            with np.load(tmp_path / f"{name}.npz", allow_pickle=False) as file:
                contents.append({key: file[key].tobytes() for key in file.files})
        assert contents[0] == contents[1]

    def test_model_file_has_only_plain_arrays_and_no_user_id(self, fitted: Recommender, tmp_path: Path) -> None:
        path = tmp_path / "model.npz"
        fitted.save(path)
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        content = b"".join(array.tobytes() for array in arrays.values())
        for user_id in (USER_IDS[1], USER_IDS[2], USER_IDS[5]):
            assert np.int64(user_id).tobytes() not in content
            assert str(user_id).encode() not in content
        assert [entry.name for entry in tmp_path.iterdir()] == ["model.npz"]

    @pytest.mark.parametrize(
        "damage", ["missing", "empty", "truncated", "changed", "foreign", "incomplete", "other model"]
    )
    def test_unusable_model_file_is_an_error(self, fitted: Recommender, damage: str, tmp_path: Path) -> None:
        path = tmp_path / "model.npz"
        fitted.save(path)
        content = path.read_bytes()
        if damage == "missing":
            path.unlink()
        elif damage == "empty":
            path.write_bytes(b"")
        elif damage == "truncated":
            path.write_bytes(content[: len(content) // 2])
        elif damage == "changed":
            position = content.rindex(b"NUMPY") + 130
            path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        elif damage == "foreign":
            np.savez(path, numbers=np.arange(3))
        elif damage == "incomplete":
            with np.load(path, allow_pickle=False) as file:
                header, track_ids = file["header"], file["track_ids"]
            np.savez(path, header=header, track_ids=track_ids, something_else=np.arange(3))
        else:
            _OtherModel().fit(two_groups()).save(path)
        with pytest.raises(ModelFileError) as caught:
            type(fitted).load(path)
        assert "\n" not in str(caught.value)


@cache
def _fitted(contract: type[RecommenderContract]) -> Recommender:
    """The model of a contract. It is fitted once, and each test gets a copy."""
    return contract().make().fit(two_groups())


class _OtherModel(Popularity):
    name = "other_model"
