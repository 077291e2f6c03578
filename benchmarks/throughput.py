"""Throughput: landed pages, staged rows and published rows a second, each against a bare baseline."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, time, timedelta
from functools import partial

from pydantic import SecretStr

from benchmarks import sample_data
from benchmarks.context import FETCH_THREADS, NO_SOURCE, PAGE_SIZE, BenchmarkContext
from benchmarks.figures import Figure, Measurement, PairedRuns, run_in_turns
from benchmarks.processes import Show
from benchmarks.source import BASE_DAY, bare_fetch, drop_raw_copy, land_batch, page_requests, raw_copy, unload
from core.clock import utc_now
from core.data_layout import DataLayout
from core.database import connect, migrate
from core.endpoints import ENDPOINTS, LISTEN_HISTORY
from core.frames import as_csv, copy_into
from core.queries import compose_query
from core.settings import Settings
from demo.s3_server import s3_server
from pipeline import landing, staging, transformation
from pipeline.batches import Batch, Counts, record_batch


def measure_fetch(context: BenchmarkContext) -> Measurement:
    """Compare landing with the bare loop."""
    runs = context.run(context.show, compare_fetch, context.settings("fetch"), context.rounds).result
    figure = Figure(
        "fetch: pages a second, share of a bare loop",
        runs.share_of_rate,
        f"{runs.rates('pages')}, {runs.count:,} pages",
        at_least=1.3,
        breakdown="decoding and checking the pages, compressing and writing them, reading a few twice",
    )
    return Measurement([figure])


def compare_fetch(show: Show, settings: Settings, rounds: int) -> PairedRuns:
    """Land all pages, and fetch them with the bare loop, in turns. The pages of the last round stay landed."""
    api_url, landing_folder = settings.moovitamix_api_url, DataLayout(settings.data_dir).landing

    def land_all() -> None:
        for endpoint in ENDPOINTS:
            land_batch(show, Batch(endpoint, BASE_DAY, settings.source), settings)

    return run_in_turns(
        rounds,
        land_all,
        lambda: bare_fetch(show, api_url, FETCH_THREADS, PAGE_SIZE),
        count=len(page_requests(api_url, PAGE_SIZE)),
        show=show,
        prepare=lambda: shutil.rmtree(landing_folder, ignore_errors=True),
    )


def measure_object_store(context: BenchmarkContext) -> Measurement:
    """Compare landing in an object store with landing in a folder."""
    runs = context.run(context.show, compare_stores, context.settings("object_store"), context.rounds).result
    figure = Figure(
        "object store: landed pages a second, share of a folder",
        runs.share_of_rate,
        f"{runs.rates('pages')}, {runs.count:,} pages; moto's S3 server on the same cores",
        at_least=0.8,
        breakdown="one request for each file of up to 100 pages, and the server itself",
    )
    return Measurement([figure])


def compare_stores(show: Show, settings: Settings, rounds: int) -> PairedRuns:
    """Land all pages in a local S3 server, and in a folder, in turns."""
    with s3_server("benchmark") as endpoint:
        bucket = {"landing_url": "s3://benchmark/landing", "aws_endpoint_url": endpoint, "aws_allow_http": True}
        key = {"aws_access_key_id": SecretStr("benchmark"), "aws_secret_access_key": SecretStr("benchmark")}
        stored = settings.model_copy(update={**bucket, **key, "aws_region": "us-east-1"})

        def land_all(target: Settings) -> None:
            for endpoint_name in ENDPOINTS:
                land_batch(show, Batch(endpoint_name, BASE_DAY, settings.source), target)

        def clear() -> None:
            for target in (settings, stored):
                for endpoint_name in ENDPOINTS:
                    landing.delete_landing(target, Batch(endpoint_name, BASE_DAY, settings.source))

        count = len(page_requests(settings.moovitamix_api_url, PAGE_SIZE))
        return run_in_turns(
            rounds, lambda: land_all(stored), lambda: land_all(settings), count=count, show=show, prepare=clear
        )


def measure_staging(context: BenchmarkContext) -> Measurement:
    """Stage the sessions that `fetch` landed. Land them first if it did not run."""
    runs, size = context.run(context.show, compare_staging, context.settings("fetch"), context.rounds).result
    figure = Figure(
        "stage: rows a second, share of a raw COPY",
        runs.share_of_rate,
        f"{runs.rates('rows')}, {size / 1e6:,.0f} MB",
        at_least=0.7,
        breakdown="reading and comparing the shaped rows, writing CSV, counts and statistics",
    )
    return Measurement([figure])


def compare_staging(show: Show, settings: Settings, rounds: int) -> tuple[PairedRuns, int]:
    """Stage and COPY in turns. Also returns the bytes of the COPY."""
    url = settings.database_url.get_secret_value()
    migrate(url)
    batch = Batch(LISTEN_HISTORY, BASE_DAY, settings.source)
    landed = land_batch(show, batch, settings)
    show("shaping")
    latest = datetime.combine(BASE_DAY, time(), UTC) + timedelta(days=2)
    folder, file = DataLayout(settings.data_dir).shaped, settings.data_dir / "staged.csv"
    shaped = transformation.transform(landed, LISTEN_HISTORY, folder, published=None, latest=latest)
    with connect(url) as connection:
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
    return runs, file.stat().st_size


_SIMILAR = 20


def measure_publishing(context: BenchmarkContext) -> Measurement:
    """Compare publication and COPY."""
    users, tracks = context.capped(30_000, 40_000)
    settings = context.settings("publishing", NO_SOURCE)
    runs = context.run(context.show, compare_publishing, settings, users, tracks, context.rounds).result
    figure = Figure(
        "publishing: rows a second, share of a raw COPY",
        runs.share_of_rate,
        f"{runs.rates('rows')}; {users * sample_data.LENGTH:,} recommendations, {tracks * _SIMILAR:,} similar tracks",
        at_least=0.6,
    )
    return Measurement([figure])


def compare_publishing(show: Show, settings: Settings, users: int, tracks: int, rounds: int) -> PairedRuns:
    """Publish and COPY in turns, after one publication to warm up."""
    url = settings.database_url.get_secret_value()
    migrate(url)
    recommendations, similar = (
        sample_data.make_recommendations(users, tracks),
        sample_data.make_similar_tracks(tracks, _SIMILAR),
    )
    frames = {"recommendations": recommendations, "similar_tracks": similar}
    copies = {name: b"".join(as_csv(frame)) for name, frame in frames.items()}
    with connect(url) as connection:

        def publish() -> None:
            sample_data.publish(connection, recommendations, similar, utc_now())

        def copy() -> None:
            with connection.transaction():
                for name, frame in frames.items():
                    table = ("staging", f"raw_{name}")
                    connection.execute(compose_query(f"recommendations/partitions.create_{name}", table=table))
                    with connection.cursor() as cursor, cursor.copy(copy_into(table, tuple(frame.columns))) as target:
                        target.write(copies[name])

        publish()
        return run_in_turns(
            rounds,
            publish,
            copy,
            count=len(recommendations) + len(similar),
            show=show,
            prepare=lambda: connection.execute(
                "drop table if exists staging.raw_recommendations, staging.raw_similar_tracks"
            ),
        )
