"""Throughput: landed pages, staged rows and published rows a second, each against a bare baseline."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from functools import partial

from pydantic import SecretStr

from benchmarks import sample_data
from benchmarks.context import NO_SOURCE, BenchmarkContext, migrate_and_connect
from benchmarks.figures import Measurement, run_in_turns
from benchmarks.processes import Show
from benchmarks.source import BASE_DAY, bare_fetch, drop_raw_copy, land_batch, page_requests, raw_copy, unload
from core.data_layout import DataLayout
from core.endpoints import ENDPOINTS, LISTEN_HISTORY
from core.frames import as_csv, copy_into
from core.queries import compose_query
from core.settings import Settings
from demo.s3_server import s3_server
from pipeline import landing, staging, transformation
from pipeline.batches import Batch, Counts, record_batch

_SIMILAR = 20


def measure_fetch(context: BenchmarkContext) -> Measurement:
    """Compare landing with the bare loop."""
    return context.measure(compare_fetch, context.settings("fetch"))


def compare_fetch(show: Show, settings: Settings, rounds: int) -> Measurement:
    """Land all pages, and fetch them with the bare loop, in turns. The pages of the last round stay landed."""
    runs = run_in_turns(
        rounds,
        lambda: _land_all(show, settings),
        lambda: bare_fetch(show, settings.moovitamix_api_url),
        count=len(page_requests(settings.moovitamix_api_url)),
        show=show,
        prepare=lambda: _delete_landed(settings),
    )
    name, note = "fetch: pages a second, share of a bare loop", f", {runs.count:,} pages"
    parts = "decoding and checking the pages, compressing and writing them, reading a few twice"
    return Measurement([runs.rate_figure(name, "pages", note, at_least=1.3, breakdown=parts)])


def _land_all(show: Show, settings: Settings) -> None:
    for endpoint in ENDPOINTS:
        land_batch(show, Batch(endpoint, BASE_DAY, settings.source), settings)


def _delete_landed(*targets: Settings) -> None:
    for settings in targets:
        for endpoint in ENDPOINTS:
            landing.delete_landing(settings, Batch(endpoint, BASE_DAY, settings.source))


def measure_object_store(context: BenchmarkContext) -> Measurement:
    """Compare landing in an object store with landing in a folder."""
    return context.measure(compare_stores, context.settings("object_store"))


def compare_stores(show: Show, settings: Settings, rounds: int) -> Measurement:
    """Land all pages in a local S3 server, and in a folder, in turns."""
    with s3_server("benchmark") as endpoint:
        bucket = {"landing_url": "s3://benchmark/landing", "aws_endpoint_url": endpoint, "aws_allow_http": True}
        key = {"aws_access_key_id": SecretStr("benchmark"), "aws_secret_access_key": SecretStr("benchmark")}
        stored = settings.model_copy(update={**bucket, **key, "aws_region": "us-east-1"})
        runs = run_in_turns(
            rounds,
            lambda: _land_all(show, stored),
            lambda: _land_all(show, settings),
            count=len(page_requests(settings.moovitamix_api_url)),
            show=show,
            prepare=lambda: _delete_landed(settings, stored),
        )
    name = "object store: landed pages a second, share of a folder"
    note = f", {runs.count:,} pages; moto's S3 server on the same cores"
    parts = "one request for each file of up to 100 pages, and the server itself"
    return Measurement([runs.rate_figure(name, "pages", note, at_least=0.8, breakdown=parts)])


def measure_staging(context: BenchmarkContext) -> Measurement:
    """Stage the sessions that `fetch` landed. Land them first if it did not run."""
    return context.measure(compare_staging, context.settings("fetch"))


def compare_staging(show: Show, settings: Settings, rounds: int) -> Measurement:
    """Stage and COPY in turns."""
    batch = Batch(LISTEN_HISTORY, BASE_DAY, settings.source)
    landed = land_batch(show, batch, settings)
    show("shaping")
    latest = datetime.combine(BASE_DAY, time(), UTC) + timedelta(days=2)
    folder, file = DataLayout(settings.data_dir).shaped, settings.data_dir / "staged.csv"
    shaped = transformation.transform(landed, LISTEN_HISTORY, folder, published=None, latest=latest)
    with migrate_and_connect(settings) as connection:
        stage = partial(
            staging.stage_batch, connection, batch, shaped, rows_reported=landed.total, dependencies_not_published=0
        )
        record_batch(connection, batch, "landed", Counts(), started_at=landed.started_at, run_id=None)
        show("staging, to warm up")
        staged = stage()
        unload(connection, staged.rows_table, file)
        runs = run_in_turns(
            rounds,
            stage,
            lambda: raw_copy(connection, LISTEN_HISTORY, file),
            count=staged.counts.rows_staged,
            show=show,
            prepare=lambda: drop_raw_copy(connection),
        )
        drop_raw_copy(connection)
        staging.drop_tables(connection, batch)
    staging.delete_transformed(shaped.folder)
    name, note = "stage: rows a second, share of a raw COPY", f", {file.stat().st_size / 1e6:,.0f} MB"
    parts = "reading and comparing the shaped rows, writing CSV, counts and statistics"
    return Measurement([runs.rate_figure(name, "rows", note, at_least=0.7, breakdown=parts)])


def measure_publishing(context: BenchmarkContext) -> Measurement:
    """Compare publication and COPY."""
    settings = context.settings("publishing", NO_SOURCE)
    return context.measure(compare_publishing, settings, *context.capped(30_000, 40_000))


def compare_publishing(show: Show, settings: Settings, users: int, tracks: int, rounds: int) -> Measurement:
    """Publish and COPY in turns, after one publication to warm up."""
    recommendations = sample_data.make_recommendations(users, tracks)
    similar = sample_data.make_similar_tracks(tracks, _SIMILAR)
    frames = {"recommendations": recommendations, "similar_tracks": similar}
    copies = {name: b"".join(as_csv(frame)) for name, frame in frames.items()}
    with migrate_and_connect(settings) as connection:

        def publish() -> None:
            sample_data.publish(connection, recommendations, similar)

        def copy() -> None:
            with connection.transaction():
                for name, frame in frames.items():
                    table = ("staging", f"raw_{name}")
                    connection.execute(compose_query(f"recommendations/partitions.create_{name}", table=table))
                    with connection.cursor() as cursor, cursor.copy(copy_into(table, tuple(frame.columns))) as target:
                        target.write(copies[name])

        def drop_copies() -> None:
            connection.execute("drop table if exists staging.raw_recommendations, staging.raw_similar_tracks")

        publish()
        count = len(recommendations) + len(similar)
        runs = run_in_turns(rounds, publish, copy, count=count, show=show, prepare=drop_copies)
    note = f"; {len(recommendations):,} recommendations, {len(similar):,} similar tracks"
    return Measurement([runs.rate_figure("publishing: rows a second, share of a raw COPY", "rows", note, at_least=0.6)])
