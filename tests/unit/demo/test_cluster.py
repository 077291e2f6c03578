"""The comparison that ends `make cluster-demo`."""

from __future__ import annotations

import pytest

from demo.cluster import PublishedLists, compare_lists
from demo.environment import DemoError

ONE_MACHINE = PublishedLists([[(1, 1, 10, 0.5), (1, 2, 11, 0.25)]], [[(10, 1, 11, 0.125)]])


def test_equal_lists_pass() -> None:
    compare_lists(
        ONE_MACHINE, PublishedLists([list(rows) for rows in ONE_MACHINE.recommendations], [[(10, 1, 11, 0.125)]])
    )


@pytest.mark.parametrize(
    ("recommendations", "similar_tracks", "message"),
    [
        ([[(1, 1, 10, 0.5), (1, 2, 11, 0.25000001)]], ONE_MACHINE.similar_tracks, "2 rows of recommendations"),
        ([[(1, 1, 10, 0.5)]], ONE_MACHINE.similar_tracks, "1 rows of recommendations"),
        (ONE_MACHINE.recommendations, [[(10, 1, 12, 0.125)]], "2 rows of similar_tracks"),
        ([], [], "0 publications, expected 1"),
    ],
)
def test_any_difference_is_an_error(
    recommendations: list[list[tuple[float, ...]]], similar_tracks: list[list[tuple[float, ...]]], message: str
) -> None:
    with pytest.raises(DemoError, match=message):
        compare_lists(ONE_MACHINE, PublishedLists(recommendations, similar_tracks))
