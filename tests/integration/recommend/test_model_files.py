"""Model files in an object store, which may fail."""

from __future__ import annotations

import pytest

from flows import recommend, retrain
from tests.integration.recommend.conftest import FilledDatabase, UseDatabase
from tests.object_stores import Bucket, unreliable_link
from tests.publications import live_publication, live_recommendations


def test_models_of_an_object_store_survive_an_outage(
    taste_groups: FilledDatabase,
    use: UseDatabase,
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    place = use(taste_groups)
    monkeypatch.setenv("GIVE_UP_AFTER_SECONDS", "0.5")
    with unreliable_link(bucket.endpoint) as link:
        bucket.set_environment(monkeypatch, "MODELS_URL", endpoint=link.url)
        assert retrain.main([]) == 0
        assert [file.name for file in bucket.store("models").files()] == ["model-1.npz"]
        assert not list(place.data_dir.glob("models/*"))
        recommendations = live_recommendations(place.query)

        link.treatment = lambda _method, _path: "refuse"
        for command in (recommend, retrain):  # a training must not treat an unreachable champion as unusable
            assert command.main([]) == 1
            assert f"the object store of s3://{bucket.name}/models at {link.url} does not" in capfd.readouterr().err
        assert live_publication(place.query) == (1, 1, "ease", "published")

        link.treatment = lambda _method, _path: "answer"
        assert recommend.main([]) == 0
        assert live_publication(place.query) == (2, 1, "ease", "published")
        assert live_recommendations(place.query) == recommendations

    bucket.store("models").write("model-1.npz", b"another file")
    bucket.set_environment(monkeypatch, "MODELS_URL")
    assert recommend.main([]) == 1
    message = f"the model file s3://{bucket.name}/models/model-1.npz was changed after training"
    assert message in capfd.readouterr().err
