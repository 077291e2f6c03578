"""Publishing: rows a second of a publication, from frames to live, against a raw COPY of the same rows."""

from __future__ import annotations

from benchmarks import sample_data
from benchmarks.context import NO_SOURCE, BenchmarkContext
from benchmarks.figures import Figure, Measurement, PairedRuns, run_in_turns
from benchmarks.processes import Show
from core.clock import utc_now
from core.database import connect, migrate
from core.frames import as_csv, copy_into
from core.queries import compose_query
from core.settings import Settings

_SIMILAR = 20


def measure(context: BenchmarkContext) -> Measurement:
    """Compare publication and COPY."""
    users, tracks = context.capped(30_000, 40_000)
    settings = context.settings("publishing", NO_SOURCE)
    runs = context.run(context.show, compare, settings, users, tracks, context.rounds).result
    figure = Figure(
        "publishing: rows a second, share of a raw COPY",
        runs.share_of_rate,
        f"{runs.rates('rows')}; {users * sample_data.LENGTH:,} recommendations, {tracks * _SIMILAR:,} similar tracks",
        at_least=0.6,
    )
    return Measurement([figure])


def compare(show: Show, settings: Settings, users: int, tracks: int, rounds: int) -> PairedRuns:
    """Publish and COPY in turns, after one publication to warm up."""
    url = settings.database_url.get_secret_value()
    migrate(url)
    recommendations, similar = sample_data.recommend(users, tracks), sample_data.relate(tracks, _SIMILAR)
    frames = {"recommendations": recommendations, "similar_tracks": similar}
    copies = {name: b"".join(as_csv(frame)) for name, frame in frames.items()}
    with connect(url) as connection:

        def publish() -> None:
            sample_data.publish(connection, model_run_id, recommendations, similar, utc_now())

        def copy() -> None:
            with connection.transaction():
                for name, frame in frames.items():
                    table = ("staging", f"raw_{name}")
                    connection.execute(compose_query(f"recommendations/partitions.create_{name}", table=table))
                    with connection.cursor() as cursor, cursor.copy(copy_into(table, tuple(frame.columns))) as target:
                        target.write(copies[name])

        model_run_id = sample_data.start_model_run(connection, utc_now())
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
