"""Flows whose files are in an object store: they end as with folders, and survive its faults."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cli.checks import check_object_stores
from core import embedded_postgres
from core.clock import utc_now
from core.dates import parse_day
from core.errors import LandingError, SourceError
from core.settings import load_settings
from core.stores import backup_store, landing_store, model_store
from erasure import suppression_list
from flows import events, ingest, maintain, replay
from flows.events import WAREHOUSE_PUBLISHED
from pipeline import landing
from pipeline.batches import Batch
from pipeline.client import ApiClient
from pipeline.raw_pages import read_pages
from services import backup
from tests.conftest import BASE_DAY, ROOT, TRACKS, MockApi, Query
from tests.ingest_runs import open_query
from tests.landed_rows import land_tracks
from tests.object_stores import Bucket, UnreliableLink, unreliable_link
from tests.source_stub import SourceStub, serve_source, track, user

pytestmark = pytest.mark.usefixtures("quick")

STORES = ("LANDING_URL", "MODELS_URL", "BACKUPS_URL", "DATA_DOCS_URL")
NOWHERE = "postgresql://postgres@127.0.0.1:1/nowhere"


@pytest.fixture
def link(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[UnreliableLink]:
    """All files are in an object store, behind this link."""
    with unreliable_link(bucket.endpoint) as unreliable:
        bucket.set_environment(monkeypatch, *STORES, endpoint=unreliable.url)
        yield unreliable


def landed(bucket: Bucket) -> list[str]:
    return [file.name for file in bucket.store("landing").files()]


@pytest.mark.usefixtures("link")
def test_blocked_batch_is_replayed_and_pruned_in_the_object_store(
    bucket: Bucket, api: MockApi, query: Query, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.set_faults({"endpoint": "tracks", "bad_rows": {"id_null": 5}})
    assert ingest.main(["--endpoint", "tracks"]) == 1
    assert not {"landing", "data_docs", "backups", "models"} & {path.name for path in environment.iterdir()}
    assert any(name.endswith("manifest.json") for name in landed(bucket))
    assert b"blocked" in bucket.store("data_docs").read("index.html")
    api.reset()
    monkeypatch.setenv("THRESHOLD_MAX_REJECTED_SHARE", "0.1")
    (batch_id,) = query("select batch_id from ops.batches")[0]

    assert replay.main([batch_id]) == 0

    assert api.request_counts()["total"] == 0
    assert query("select count(*) from warehouse.tracks") == [(TRACKS,)]
    query("update ops.batches set started_at = started_at - interval '99 days' returning 1")
    assert maintain.main([]) == 0
    assert landed(bucket) == []


def test_run_continues_after_an_outage_of_the_object_store(
    link: UnreliableLink, bucket: Bucket, api: MockApi, query: Query, capfd: pytest.CaptureFixture[str]
) -> None:
    answers = iter(range(4))

    def fail_after_some_pages(_method: str, path: str) -> Any:
        return "refuse" if "/landing/" in path and next(answers, None) is None else "answer"

    link.treatment = fail_after_some_pages
    assert ingest.main(["--day", BASE_DAY]) == 1
    output = capfd.readouterr()
    line = output.err.splitlines()[-1]
    assert f"the object store of s3://{bucket.name}/landing at {link.url} does not answer for 3 s" in line
    assert not [name for name in landed(bucket) if name.endswith("manifest.json")]
    assert query("select count(*) from warehouse.tracks") == [(0,)]

    link.treatment = lambda _method, _path: "answer"
    assert ingest.main(["--day", BASE_DAY]) == 0
    assert query("select count(*) from warehouse.tracks") == [(TRACKS,)]
    assert {status for (status,) in query("select status from ops.batches")} == {"published"}


def test_unreachable_data_docs_keep_no_ingest_from_its_event(
    link: UnreliableLink, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    emitted_events: list[str] = []
    monkeypatch.setattr(events, "emit_event", lambda event, **_: emitted_events.append(event))
    monkeypatch.setattr(events, "has_server", lambda: True)
    monkeypatch.setenv("GIVE_UP_AFTER_SECONDS", "1")
    link.treatment = lambda _method, path: "refuse" if "/data_docs/" in path else "answer"

    assert ingest.main(["--endpoint", "tracks"]) == 0
    assert query("select status from ops.batches") == [("published",)]
    assert emitted_events == [WAREHOUSE_PUBLISHED]


def test_lost_answers_land_the_same_pages(link: UnreliableLink, query: Query) -> None:
    written: set[tuple[str, str]] = set()

    def lose_first_answer(method: str, path: str) -> Any:
        is_first = method == "PUT" and (method, path) not in written
        written.add((method, path))
        return "lose the answer" if is_first else "answer"

    link.treatment = lose_first_answer
    assert ingest.main(["--endpoint", "tracks"]) == 0
    assert query("select rows_reported, rows_landed from ops.batches") == [(TRACKS, TRACKS)]


@pytest.mark.usefixtures("link")
def test_backup_in_the_object_store_is_verified_restored_and_pruned(
    bucket: Bucket,
    database: str,
    environment: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ingest.main(["--endpoint", "tracks"]) == 0
    models, backups = model_store(load_settings()), bucket.store("backups")
    models.write("model-1.npz", b"model 1")
    backups.write("2026-01-01T000000Z.tar", b"an old backup")
    monkeypatch.setenv("BACKUPS_KEPT", "1")
    monkeypatch.setenv("PATH", f"{embedded_postgres.programs_folder()}{os.pathsep}{os.environ['PATH']}")

    assert backup.main(["make"]) == 0

    (name,) = [file.name for file in backups.files() if file.name.endswith(".tar")]
    url = f"s3://{bucket.name}/backups/{name}"
    assert name != "2026-01-01T000000Z.tar"
    assert url in capsys.readouterr().out
    assert backup.main(["verify", url]) == 0
    with open_query(database) as query:
        query("delete from warehouse.tracks returning 1")
    models.delete("model-1.npz")
    assert backup.main(["restore", url, "--force"]) == 0
    with open_query(database) as query:
        assert query("select count(*) from warehouse.tracks") == [(TRACKS,)]
    assert models.read("model-1.npz") == b"model 1"
    assert not list((environment / "backups").glob("*.tar"))

    assert backup.main(["restore", f"{url}.missing", "--force"]) == 2
    assert backup.main(["restore", "s3://another/backup.tar", "--force"]) == 2
    err = capsys.readouterr().err
    assert f"{url}.missing does not exist" in err
    assert f"s3://another/backup.tar is not below s3://{bucket.name}/backups" in err


def test_doctor_checks_each_object_store(link: UnreliableLink, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {(check.name, check.status) for check in check_object_stores(load_settings())} == {
        (name, "ok") for name in STORES
    }
    assert bucket.store().files() == []
    monkeypatch.setattr("cli.checks._SECONDS", 0.3)
    link.treatment = lambda _method, path: "refuse" if "/landing/" in path else "answer"
    monkeypatch.setenv("MODELS_URL", "s3://missing-bucket/models")
    problems = {check.name: check.detail for check in check_object_stores(load_settings()) if check.status == "problem"}
    assert set(problems) == {"LANDING_URL", "MODELS_URL"}
    assert "does not answer for 0.3 s" in problems["LANDING_URL"]
    assert "the bucket of s3://missing-bucket/models does not exist" in problems["MODELS_URL"]


@pytest.fixture(params=["folder", "object store"])
def source(
    request: pytest.FixtureRequest, quick: None, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SourceStub]:
    """A source with a few pages. The raw pages are in a folder or an object store."""
    if request.param == "object store":
        bucket.set_environment(monkeypatch, "LANDING_URL", "BACKUPS_URL")
    tracks, users = [track(number) for number in range(400)], [user(number) for number in range(400)]
    with serve_source(SourceStub(tracks, users)) as stub:
        monkeypatch.setenv("MOOVITAMIX_API_URL", stub.url)
        yield stub


def _rows(landed_batch: landing.Landing) -> int:
    return sum(body.count(b'"name"') for _, bodies in landed_batch.chunks() for body in bodies)


@pytest.mark.usefixtures("source")
def test_two_extractions_at_once_without_a_database_leave_one_complete_landing() -> None:
    with ThreadPoolExecutor(2) as threads:
        first, second = (threads.submit(land_tracks, BASE_DAY) for _ in range(2))
        assert (_rows(first.result()), _rows(second.result())) == (400, 400)
    assert _rows(land_tracks(BASE_DAY)) == 400


def test_pages_of_an_interrupted_extraction_are_no_landing(source: SourceStub) -> None:
    source.failing_pages = {("tracks", 8)}
    with pytest.raises(Exception, match="500"):
        land_tracks(BASE_DAY)
    settings = load_settings()
    batch = Batch("tracks", parse_day(BASE_DAY), settings.source)
    assert landing.find_landing(settings, batch) is None
    assert landing_store(settings).files()
    source.failing_pages, source.requested_pages = set(), []

    assert _rows(land_tracks(BASE_DAY)) == 400
    assert source.requested_pages.count(("tracks", 5)) == 1  # only its final check


def test_killed_extraction_is_no_landing_and_continues(source: SourceStub) -> None:
    script = (
        "import os, signal; from tests.e2e.interrupted import interrupt; from tests.landed_rows import land_tracks;"
        "interrupt('pipeline.extraction:write_pages', 'after', 3, lambda: os.kill(os.getpid(), signal.SIGKILL));"
        f"land_tracks({BASE_DAY!r})"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert result.returncode == -signal.SIGKILL, result.stderr
    settings = load_settings()
    stored = [file.name for file in landing_store(settings).files() if file.name.endswith(".zst")]
    assert stored
    assert landing.find_landing(settings, Batch("tracks", parse_day(BASE_DAY), settings.source)) is None

    landed_batch = land_tracks(BASE_DAY)

    assert _rows(landed_batch) == 400
    assert set(stored) <= set(landed_batch.files or ())


def test_user_erased_during_an_extraction_without_a_database_leaves_no_pages(
    source: SourceStub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The erasure cannot see pages that are written after it looked for them."""

    backups = backup_store(load_settings())

    def suppress(number: int) -> None:
        if number == 3:
            entry = suppression_list.SuppressionList().suppressed_entry(7, utc_now())
            suppression_list._write_copy(backups, suppression_list.SuppressionList((entry,)))

    source.before_request = suppress
    monkeypatch.setenv("DATABASE_URL", NOWHERE)
    assert ingest.main(["--day", BASE_DAY, "--endpoint", "users"]) == 1
    message = "a user was erased while users-2026-11-20 was extracted; its pages are deleted: run again"
    assert message in capsys.readouterr().out
    assert landing_store(load_settings()).files() == []


def test_user_erased_during_an_extraction_that_fails_leaves_no_pages(
    source: SourceStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    backups = backup_store(load_settings())

    def suppress(number: int) -> None:
        if number == 3:
            entry = suppression_list.SuppressionList().suppressed_entry(160, utc_now())  # page 1 has others
            suppression_list._write_copy(backups, suppression_list.SuppressionList((entry,)))

    source.before_request = suppress
    source.failing_pages = {("users", 8)}
    monkeypatch.setenv("DATABASE_URL", NOWHERE)
    assert ingest.main(["--day", BASE_DAY, "--endpoint", "users"]) == 1
    store = landing_store(load_settings())
    names = [file.name for file in store.files() if file.name.endswith(".zst")]
    assert not any(b"ada160@example.com" in body for name in names for body in read_pages(store, name))


def test_extraction_that_fails_after_an_erasure_deletes_its_pages(source: SourceStub) -> None:
    source.failing_pages = {("tracks", 8)}
    with pytest.raises(SourceError):
        _land("old list", is_filter_current=False)
    assert landing_store(load_settings()).files() == []


def test_pages_of_another_suppression_list_are_read_again(source: SourceStub) -> None:
    source.failing_pages = {("tracks", 8)}
    with pytest.raises(SourceError):
        _land("old list")
    source.failing_pages, source.requested_pages = set(), []
    assert _rows(_land("new list")) == 400
    assert source.requested_pages.count(("tracks", 5)) == 2  # its read, and its final check


def _land(filter_digest: str, *, is_filter_current: bool = True) -> landing.Landing:
    settings = load_settings()
    return landing.land_snapshot(
        ApiClient(settings),
        Batch("tracks", parse_day(BASE_DAY), settings.source),
        settings,
        clock=utc_now,
        progress=lambda *_: None,
        filter_digest=filter_digest,
        is_filter_current=lambda: is_filter_current,
    )


def test_extraction_that_deletes_pages_of_a_complete_landing_deletes_its_manifest(
    source: SourceStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch_page = ApiClient.fetch_page

    def land_completely_meanwhile(client: ApiClient, endpoint: Any, number: int) -> Any:
        monkeypatch.setattr(ApiClient, "fetch_page", fetch_page)
        assert _rows(land_tracks(BASE_DAY)) == 400
        source.failing_pages = {("tracks", 8)}
        return fetch_page(client, endpoint, number)

    monkeypatch.setattr(ApiClient, "fetch_page", land_completely_meanwhile)
    with pytest.raises(SourceError):
        land_tracks(BASE_DAY)
    source.failing_pages = set()
    assert _rows(land_tracks(BASE_DAY)) == 400


def test_landing_that_completes_while_another_extraction_deletes_its_pages_is_none(
    source: SourceStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    landed_batch = land_tracks(BASE_DAY)
    manifest = f"{landed_batch.folder}/manifest.json"
    store, store_type = landed_batch.store, type(landed_batch.store)
    write, delete, manifests = store_type.write, store_type.delete, [store.read(manifest)]
    store.delete(manifest)

    def complete_before_first_page(store: Any, name: str) -> None:
        if name.endswith(".zst") and manifests:
            write(store, manifest, manifests.pop())
        delete(store, name)

    monkeypatch.setattr(store_type, "delete", complete_before_first_page)
    source.failing_pages = {("tracks", 8)}
    with pytest.raises(SourceError):
        land_tracks(BASE_DAY)
    assert manifests == []
    source.failing_pages = set()
    assert _rows(land_tracks(BASE_DAY)) == 400

    def lose_pages_before_manifest(store: Any, name: str, content: Any, *, durable: bool = False) -> None:
        if name == manifest:
            store.delete_folder(landed_batch.folder)
        write(store, name, content, durable=durable)

    store.delete_folder(landed_batch.folder)
    monkeypatch.setattr(store_type, "write", lose_pages_before_manifest)
    with pytest.raises(LandingError, match="another run deleted pages"):
        land_tracks(BASE_DAY)
    monkeypatch.setattr(store_type, "write", write)
    assert _rows(land_tracks(BASE_DAY)) == 400
