"""Recommendations for sessions without an account, from the live model."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from core.database import Connection, connect
from recommender.data.interactions import Interactions
from recommender.models import file_format
from recommender.models.als import ALS
from recommender.models.ease import EASE
from tests.child_processes import children_running
from tests.integration.serving.api import REMOVED_TRACK, Api, go_live, serving, stage
from tests.integration.serving.test_responses import assert_problem, tracks

_SECONDS = 60.0
PLAYED = [2, 4, 4]


def plays() -> Interactions:
    """Even users play even tracks, odd users play odd tracks, and all users play the removed track."""
    random = np.random.default_rng(5)
    pairs = [
        (user, track)
        for user in range(1, 41)
        for track in (*range(1 + user % 2, 61, 2), REMOVED_TRACK)
        if track == REMOVED_TRACK or random.random() < 0.4
    ]
    return Interactions.from_pairs(*zip(*pairs, strict=True))


def use_model(connection: Connection, publication: int, model: EASE | ALS, folder: Path, file: str) -> None:
    path = folder / "models" / file
    model.fit(plays()).save(path)
    connection.execute(
        "update ml.model_runs set model = %s, params = %s, model_file = %s, model_digest = %s"
        " where model_run_id = (select model_run_id from ml.publications where publication_id = %s)",
        [model.name, json.dumps({"settings": {}}), file, file_format.digest(path), publication],
    )


def recommend(api: Api, **session: object) -> httpx.Response:
    return api.client.post("/v1/recommendations", json=session)


def wait_for(api: Api, publication: int) -> httpx.Response:
    """The first response of a publication."""
    until = time.monotonic() + _SECONDS
    while True:
        response = recommend(api, tracks=PLAYED, limit=5)
        if response.status_code == 200 and response.json()["publication_id"] == publication:
            return response
        assert response.status_code in (200, 503), response.text
        assert time.monotonic() < until, response.text
        time.sleep(0.1)


@pytest.fixture
def api(populated: str, tmp_path: Path) -> Iterator[Api]:
    """Publication 1 with EASE is live."""
    with connect(populated) as connection:
        publication = stage(connection, {1: [1]}, fallbacks={"": [50, 51, 52]})
        use_model(connection, publication, EASE(), tmp_path, "ease.npz")
        go_live(connection, publication)
    with serving(populated, data_dir=tmp_path) as running:
        yield running


def test_session_gets_what_the_live_model_recommends(api: Api, tmp_path: Path) -> None:
    loading = assert_problem(recommend(api, tracks=PLAYED), 503, "model-away")
    assert str(tmp_path) not in loading["detail"]

    response = wait_for(api, 1)

    session = Interactions.from_pairs([1, 1], [2, 4], [1, 2], known_users=[1], catalogue=plays().track_ids)
    ranking = EASE().fit(plays()).fold_in(session).recommend([1], 61, session).ids[0].tolist()
    assert REMOVED_TRACK in ranking
    expected = [track for track in ranking if track != REMOVED_TRACK][:5]
    assert tracks(response) == list(enumerate(expected, 1))
    assert (response.json()["known_tracks"], response.json()["fallback"]) == (2, False)
    assert not set(expected) & set(PLAYED)
    without = recommend(api, tracks=PLAYED, limit=5, exclude=expected[:2])
    assert [track for _, track in tracks(without)][:3] == expected[2:]

    # A session of unknown tracks gets popular tracks. They also fill the list of a model that knows few tracks.
    unknown = recommend(api, tracks=[404, 405, 2**63 - 1], exclude=[51])
    assert (tracks(unknown), unknown.json()["known_tracks"]) == ([(1, 50), (2, 52)], 0)
    assert unknown.json()["fallback"] is True
    scores = [track["score"] for track in recommend(api, tracks=PLAYED, limit=50).json()["recommendations"]]
    assert scores == sorted(scores, reverse=True)
    for invalid in ({}, {"tracks": []}, {"tracks": ["1"]}, {"tracks": [1] * 201}, {"tracks": [1], "user_id": 5}):
        assert_problem(recommend(api, **invalid), 422, "invalid-request")


def test_other_publication_and_its_lost_model_file(api: Api, tmp_path: Path) -> None:
    wait_for(api, 1)
    with connect(api.database) as connection:
        second, third = (stage(connection, {1: [2]}, fallbacks={"": [60]}) for _ in range(2))
        use_model(connection, second, ALS(factors=4), tmp_path, "als.npz")
        use_model(connection, third, EASE(), tmp_path, "lost.npz")
        go_live(connection, second)
        wait_for(api, second)
        (tmp_path / "models" / "lost.npz").unlink()
        go_live(connection, third)
        time.sleep(2)  # longer than it takes to notice a publication
        assert wait_for(api, second).status_code == 200  # the last model that could be loaded
        go_live(connection, 1)


def test_process_that_ended_is_started_again(api: Api) -> None:
    wait_for(api, 1)
    # Other serving processes of this test run may have one, too.
    processes = children_running("recommender.sessions")
    assert processes
    for process in processes:
        process.kill()
        process.wait(_SECONDS)
    wait_for(api, 1)


def test_serving_imports_no_model_before_the_first_session() -> None:
    code = "import sys, serving.__main__; print([name for name in ('numpy', 'scipy', 'polars') if name in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"
