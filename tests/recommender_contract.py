"""What every model keeps, on a matrix so small that the right answer is known."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import pytest

from core.errors import InteractionsError, ModelFileError
from recommender.data.interactions import Interactions
from recommender.models.base import Recommender
from recommender.models.popularity import Popularity
from tests.two_groups import FIRST_GROUP, TRACK_IDS, USER_IDS, group_of, played_by, same_ranking, two_groups


class RecommenderContract(ABC):
    """A subclass whose name begins with Test makes the model, and passes all of this.

    `personal` is whether a listener's plays decide what comes first; a model that is not gives everyone the same.
    """

    personal = True

    @abstractmethod
    def make(self) -> Recommender:
        """A new model with settings that suit twelve tracks."""

    @pytest.fixture
    def plays(self) -> Interactions:
        return two_groups()

    @pytest.fixture
    def fitted(self, plays: Interactions) -> Recommender:
        return self.make().fit(plays)

    def test_the_unseen_tracks_of_a_listeners_own_group_come_first(
        self, fitted: Recommender, plays: Interactions
    ) -> None:
        ranking = fitted.recommend(USER_IDS, 2, exclude=plays)
        if self.personal:
            for line in range(len(USER_IDS)):
                assert set(ranking.ids[line]) == set(group_of(line)) - set(played_by(line))
        assert ranking.ids.shape == ranking.scores.shape == (len(USER_IDS), 2)
        assert (ranking.ids.dtype, ranking.scores.dtype) == (np.int64, np.float32)

    def test_no_excluded_pair_no_repeat_and_scores_that_fall(self, fitted: Recommender, plays: Interactions) -> None:
        ranking = fitted.recommend(USER_IDS, 8, exclude=plays)
        assert np.isfinite(ranking.scores).all()
        assert (np.diff(ranking.scores, axis=1) <= 0).all()
        for line in range(len(USER_IDS)):
            assert sorted(ranking.ids[line]) == sorted(set(TRACK_IDS) - set(played_by(line)))

    def test_without_exclusion_what_was_played_may_come_again(self, fitted: Recommender) -> None:
        assert sorted(fitted.recommend(USER_IDS[:1], 12).ids[0]) == sorted(TRACK_IDS)

    def test_places_that_cannot_be_filled_say_so(self, fitted: Recommender, plays: Interactions) -> None:
        ranking = fitted.recommend(USER_IDS, 20, exclude=plays)
        assert (ranking.ids[:, :8] != -1).all()
        assert (ranking.ids[:, 8:] == -1).all()
        assert np.isneginf(ranking.scores[:, 8:]).all()

    def test_a_shorter_list_begins_like_a_longer_one(self, fitted: Recommender, plays: Interactions) -> None:
        long = fitted.recommend(USER_IDS, 8, exclude=plays)
        for n in range(1, 8):
            assert (fitted.recommend(USER_IDS, n, exclude=plays).ids == long.ids[:, :n]).all()

    def test_users_come_in_the_order_asked_for_and_as_often(self, fitted: Recommender, plays: Interactions) -> None:
        assert fitted.recommend([], 3).ids.shape == (0, 3)
        places = [7, 2, 2, 0]
        asked = fitted.recommend(USER_IDS[places], 3, exclude=plays)
        assert (asked.ids == fitted.recommend(USER_IDS, 3, exclude=plays).ids[places]).all()

    def test_a_user_who_is_unknown_or_has_no_plays(self, plays: Interactions) -> None:
        silent = 42
        model = self.make().fit(
            Interactions.from_pairs(
                [*USER_IDS[:2], *USER_IDS[:2]], [*TRACK_IDS[:2], *TRACK_IDS[2:4]], known_users=[silent]
            )
        )
        ranking = model.recommend([silent, 43, USER_IDS[0]], 3)
        if model.needs_plays:
            assert (ranking.ids[:2] == -1).all()
            assert np.isneginf(ranking.scores[:2]).all()
        else:
            assert (ranking.ids[:2] == ranking.ids[0]).all()
        assert ranking.ids[2, 0] != -1

    def test_a_user_who_played_everything(self) -> None:
        plays = Interactions.from_pairs([1] * 12 + [2, 2], [*TRACK_IDS, *TRACK_IDS[:2]])
        ranking = self.make().fit(plays).recommend([1, 2], 3, exclude=plays)
        assert (ranking.ids[0] == -1).all()
        assert (ranking.ids[1] != -1).all()

    def test_one_user(self) -> None:
        plays = Interactions.from_pairs([5, 5], TRACK_IDS[:2], catalogue=TRACK_IDS)
        ranking = self.make().fit(plays).recommend([5], 3, exclude=plays)
        assert set(ranking.ids[0]) <= {*TRACK_IDS[2:], -1}

    def test_one_track(self) -> None:
        plays = Interactions.from_pairs([5, 6], [9, 9])
        model = self.make().fit(plays)
        assert model.recommend([5, 6], 2).ids.tolist() == [[9, -1], [9, -1]]
        assert (model.recommend([5, 6], 2, exclude=plays).ids == -1).all()

    @pytest.mark.parametrize("catalogue", [[], [1, 2, 3]])
    def test_no_interactions_at_all(self, catalogue: list[int], tmp_path: Path) -> None:
        nothing = Interactions.from_pairs([], [], known_users=[7], catalogue=catalogue)
        model = self.make().fit(nothing)
        assert (model.recommend([7, 8], 2, exclude=nothing).ids == -1).all()
        model.save(tmp_path / "model.npz")
        again = type(model).load(tmp_path / "model.npz").fold_in(nothing)
        assert (again.recommend([7], 2).ids == -1).all()

    def test_all_plays_equal(self) -> None:
        plays = two_groups()
        plays.plays.data[:] = 3
        ranking = self.make().fit(plays).recommend(USER_IDS, 2, exclude=plays)
        assert (ranking.ids != -1).all()

    def test_plays_by_the_million(self) -> None:
        plays = two_groups(times=10**7)
        assert np.isfinite(self.make().fit(plays).recommend(USER_IDS, 5, exclude=plays).scores).all()

    def test_tracks_that_nobody_played(self) -> None:
        plays = two_groups()
        with_more = plays.select_tracks(np.union1d(TRACK_IDS, [1, 2, 99]))
        ranking = self.make().fit(with_more).recommend(USER_IDS, 2, exclude=with_more)
        if self.personal:
            assert not np.isin(ranking.ids, [1, 2, 99]).any()
        assert np.isfinite(ranking.scores).all()

    def test_a_listener_who_plays_everything_often_does_not_drown_the_others(self) -> None:
        calm = two_groups()
        entries = calm.plays.tocoo()
        plays = Interactions.from_pairs(
            [*calm.user_ids[entries.coords[0]], *[77] * len(TRACK_IDS)],
            [*calm.track_ids[entries.coords[1]], *TRACK_IDS],
            [*entries.data, *[100_000] * len(TRACK_IDS)],
        )
        ranking = self.make().fit(plays).recommend(USER_IDS, 2, exclude=plays)
        if self.personal:
            own = [np.isin(ranking.ids[line], group_of(line)).all() for line in range(len(USER_IDS))]
            assert all(own)

    def test_a_track_withdrawn_from_the_catalogue_is_not_recommended(
        self, fitted: Recommender, plays: Interactions
    ) -> None:
        left = plays.select_tracks(TRACK_IDS[2:])
        ranking = fitted.fold_in(left).recommend(USER_IDS, 12)
        assert not np.isin(ranking.ids, TRACK_IDS[:2]).any()
        assert (ranking.ids[:, :10] != -1).all()

    def test_fitting_twice_gives_the_same(self, fitted: Recommender, plays: Interactions) -> None:
        first = fitted.recommend(USER_IDS, 8, exclude=plays)
        assert same_ranking(first, self.make().fit(two_groups()).recommend(USER_IDS, 8, exclude=plays))
        assert same_ranking(first, fitted.fit(plays).recommend(USER_IDS, 8, exclude=plays))
        assert same_ranking(first, fitted.recommend(USER_IDS, 8, exclude=plays))

    def test_input_is_not_changed(self, plays: Interactions) -> None:
        before = two_groups()
        for array in (plays.plays.data, plays.plays.indices, plays.plays.indptr, plays.user_ids, plays.track_ids):
            array.flags.writeable = False
        self.make().fit(plays).fold_in(plays).recommend(USER_IDS, 5, exclude=plays)
        assert (plays.plays != before.plays).nnz == 0

    def test_histories_out_of_order_are_refused(self, fitted: Recommender, plays: Interactions) -> None:
        with pytest.raises(InteractionsError, match="order"):
            fitted.fold_in(plays.select_users(USER_IDS[::-1]))

    def test_a_new_listener_is_served_without_training(self, fitted: Recommender) -> None:
        newcomer = Interactions.from_pairs([123, 123, 123], FIRST_GROUP[:3], catalogue=TRACK_IDS)
        ranking = fitted.fold_in(newcomer).recommend([123], 3, exclude=newcomer)
        if self.personal:
            assert set(ranking.ids[0]) == set(FIRST_GROUP[3:])
        assert (ranking.ids != -1).all()

    def test_new_plays_count(self, fitted: Recommender, plays: Interactions) -> None:
        if self.personal:
            turned = Interactions.from_pairs([USER_IDS[0]] * 3, TRACK_IDS[1::2][:3], catalogue=TRACK_IDS)
            ranking = fitted.fold_in(turned).recommend(USER_IDS[:1], 3, exclude=turned)
            assert set(ranking.ids[0]) == set(TRACK_IDS[1::2][3:])

    def test_plays_of_tracks_it_never_saw_are_left_out(self, fitted: Recommender) -> None:
        known = Interactions.from_pairs([123] * 3, FIRST_GROUP[:3], catalogue=TRACK_IDS)
        odd = Interactions.from_pairs([123] * 4, [*FIRST_GROUP[:3], 777], catalogue=TRACK_IDS)
        one = fitted.fold_in(known).recommend([123], 5)
        other = fitted.fold_in(odd).recommend([123], 5)
        assert same_ranking(one, other)

    def test_saved_and_loaded_it_answers_the_same(
        self, fitted: Recommender, plays: Interactions, tmp_path: Path
    ) -> None:
        fitted.save(tmp_path / "model.npz")
        again = type(fitted).load(tmp_path / "model.npz")
        assert (again.name, again.params) == (fitted.name, fitted.params)
        assert json.loads(json.dumps(dict(again.params))) == again.params
        if again.needs_plays:
            assert (again.recommend(USER_IDS, 3).ids == -1).all()  # it knows no listener
        expected = fitted.recommend(USER_IDS, 8, exclude=plays)
        assert same_ranking(expected, again.fold_in(plays).recommend(USER_IDS, 8, exclude=plays))

    def test_the_same_model_makes_the_same_file(self, fitted: Recommender, tmp_path: Path) -> None:
        fitted.save(tmp_path / "one.npz")
        self.make().fit(two_groups()).save(tmp_path / "two.npz")
        contents = []
        for name in ("one", "two"):
            with np.load(tmp_path / f"{name}.npz", allow_pickle=False) as file:
                contents.append({key: file[key].tobytes() for key in file.files})
        assert contents[0] == contents[1]

    def test_the_file_is_plain_arrays_and_knows_no_listener(self, fitted: Recommender, tmp_path: Path) -> None:
        path = tmp_path / "model.npz"
        fitted.save(path)
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        content = b"".join(array.tobytes() for array in arrays.values())
        for listener in (USER_IDS[1], USER_IDS[2], USER_IDS[5]):
            assert np.int64(listener).tobytes() not in content
            assert str(listener).encode() not in content
        assert [entry.name for entry in tmp_path.iterdir()] == ["model.npz"]

    @pytest.mark.parametrize("damage", ["missing", "empty", "cut", "changed", "foreign", "lacking", "of another model"])
    def test_a_file_that_cannot_be_used_says_so(self, fitted: Recommender, damage: str, tmp_path: Path) -> None:
        path = tmp_path / "model.npz"
        fitted.save(path)
        content = path.read_bytes()
        if damage == "missing":
            path.unlink()
        elif damage == "empty":
            path.write_bytes(b"")
        elif damage == "cut":
            path.write_bytes(content[: len(content) // 2])
        elif damage == "changed":
            place = content.rindex(b"NUMPY") + 130
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        elif damage == "foreign":
            np.savez(path, numbers=np.arange(3))
        elif damage == "lacking":
            with np.load(path, allow_pickle=False) as file:
                header, track_ids = file["header"], file["track_ids"]
            np.savez(path, header=header, track_ids=track_ids, something_else=np.arange(3))
        else:
            _Other().fit(two_groups()).save(path)
        with pytest.raises(ModelFileError) as caught:
            type(fitted).load(path)
        assert "\n" not in str(caught.value)


class _Other(Popularity):
    name = "of_somebody_else"
