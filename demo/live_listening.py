"""The last minute of `make demo`: users listen, and their recommendations change within a second."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import requests
from confluent_kafka import Producer
from psycopg.rows import namedtuple_row
from rich.console import Console
from rich.text import Text

from core.age_histogram import age_quantile
from core.data_layout import DataLayout
from core.database import Connection, connect
from core.queries import load_query
from core.settings import Settings
from demo.deployment_runs import wait_until
from demo.environment import ROOT, DemoError, MockApiClient
from demo.local_services import free_ports
from streaming.local_broker import HOST, create_topic, start_broker

_SHOWN = 4
_RATE = 20
# When each of the three users plays, as a share of the time.
_MOMENTS = (0.1, 0.4, 0.7)
_SECONDS_TO_WAIT, _OFTEN = 60.0, 0.01
# Three users who played 10 to 40 tracks, with different favourite genres. Each plays three tracks of a new artist.
_USERS = """
with artists as (
    select
        artist,
        (array_agg(track_id order by track_id))[:3] as track_ids,
        (array_agg(name order by track_id))[:3] as titles
    from mart.dim_tracks
    where removed_at is null
    group by artist
    having count(*) >= 3
),

users as (
    select distinct on (known_user.favorite_genres) known_user.user_id, known_user.favorite_genres as genre
    from mart.user_track_plays as plays
    join mart.dim_users as known_user using (user_id)
    where known_user.removed_at is null
    group by known_user.user_id, known_user.favorite_genres
    having count(*) between 10 and 40
    order by known_user.favorite_genres, count(*) desc, known_user.user_id
    limit 3
)

select users.user_id, users.genre, artist.artist, artist.track_ids, artist.titles
from users
cross join lateral (
    select artists.artist, artists.track_ids, artists.titles
    from artists
    join mart.dim_tracks as track using (artist)
    join mart.user_track_plays as plays using (track_id)
    where not exists (
        select
        from mart.user_track_plays as played
        join mart.dim_tracks as played_track using (track_id)
        where played.user_id = users.user_id and played_track.artist = artists.artist
    )
    group by artists.artist, artists.track_ids, artists.titles
    order by sum(plays.plays) desc, artists.artist
    offset mod(users.user_id, 5)
    limit 1
) as artist
"""


@dataclass
class Players:
    """Let users of the mock listen, and send their sessions to the topic, as `moovitamix mock play` does."""

    api: MockApiClient
    producer: Producer
    topic: str

    def play(self, request: dict[str, Any]) -> int:
        """Let the mock start sessions, and send them. Returns how many."""
        sessions = self.api.start_sessions(request)
        for session in sessions:
            self.producer.produce(self.topic, json.dumps(session), str(session["user_id"]))
        self.producer.poll(0)
        return len(sessions)


def listen(console: Console, api: MockApiClient, database_url: str, settings: Settings, seconds: float) -> None:
    """Start a broker and a consumer, let users listen, and print the result. Raises DemoError."""
    console.print(f"\n[bold]Live listening for {seconds:.0f} s[/]  ({_RATE} sessions a second)")
    port, metrics_port = free_ports(2)
    with (
        _broker(port, settings.stream_topic),
        _consumer(settings, port, metrics_port),
        connect(database_url) as database,
    ):
        wait_until(lambda: _has_loaded_a_model(metrics_port), _SECONDS_TO_WAIT, "loading a model", _OFTEN)
        players = Players(api, Producer({"bootstrap.servers": f"{HOST}:{port}", "linger.ms": 5}), settings.stream_topic)
        with database.cursor(row_factory=namedtuple_row) as cursor:
            moments = list(zip(_MOMENTS, cursor.execute(_USERS).fetchall(), strict=False))
        sent, began = 0, time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            if moments and passed >= moments[0][0] * seconds:
                _play(console, database, players, moments.pop(0)[1])
                sent += 1
            if due := int(passed * _RATE) - sent:
                sent += players.play({"type": "drawn", "count": due})
            time.sleep(0.02)
        players.producer.flush(_SECONDS_TO_WAIT)
        wait_until(lambda: _stored_messages(database) >= sent, _SECONDS_TO_WAIT, "storing all messages", _OFTEN)
        _check(database, sent)
        wait_until(lambda: _saved_messages(database) >= sent, _SECONDS_TO_WAIT, "saving figures", _OFTEN)
        rows = database.execute("select list_ages from stream.minutes").fetchall()
    ages = [sum(step) for step in zip(*(row for (row,) in rows), strict=True)]
    half, nearly_all = (age_quantile(ages, share) or 0.0 for share in (0.5, 0.99))
    console.print(f"  {sent:,} sessions were sent, and each is stored once.")
    console.print(f"  Half of the users got new recommendations within {half:.2f} s, 99 % within {nearly_all:.2f} s.")


def _play(console: Console, database: Connection, players: Players, user: Any) -> None:
    before = _recommendations(database, user.user_id)
    began = time.monotonic()
    players.play({"type": "chosen", "user_id": user.user_id, "items": user.track_ids})
    players.producer.flush(_SECONDS_TO_WAIT)
    wait_until(
        lambda: _recommendations(database, user.user_id)["as_of"] != before["as_of"],
        _SECONDS_TO_WAIT,
        "a new recommendation",
        _OFTEN,
    )
    seconds, after = time.monotonic() - began, _recommendations(database, user.user_id)
    earlier = {track["track_id"] for track in before["recommendations"]}
    lines = (
        f"  User {user.user_id}, favourite genre {user.genre}",
        f"    before:       {_titles(before, earlier)}",
        f"    plays:        {', '.join(user.titles)}, by {user.artist}",
        f"    {seconds:.2f} s later: {_titles(after, earlier)}",
    )
    for line in lines:
        console.print(Text(line), soft_wrap=True)


def _titles(response: dict[str, Any], earlier: set[int]) -> str:
    """The first tracks. New ones have a plus sign."""
    return ", ".join(
        f"{'' if track['track_id'] in earlier else '+ '}{track['title']} ({track['artist']})"
        for track in response["recommendations"][:_SHOWN]
    )


def _recommendations(database: Connection, user_id: int) -> dict[str, Any]:
    """The response of the serving API for one user."""
    values = {"ids": [user_id], "counts": [10], "options": [None], "fresh": True}
    ((_, _, response, *_),) = database.execute(load_query("serving/find_recommendations"), values).fetchall()
    parsed: dict[str, Any] = json.loads(response)
    return parsed


def _stored_messages(database: Connection) -> int:
    rows = database.execute("select coalesce(sum(messages), 0) from stream.offsets").fetchall()
    return int(rows[0][0])


def _saved_messages(database: Connection) -> int:
    rows = database.execute("select coalesce(sum(messages), 0) from stream.minutes").fetchall()
    return int(rows[0][0])


def _check(database: Connection, sent: int) -> None:
    ((sessions,),) = database.execute("select count(*) from stream.sessions").fetchall()
    if (_stored_messages(database), sessions) != (sent, sent):
        raise DemoError(f"unexpected result: {sent:,} sessions were sent, {sessions:,} are stored")


def _has_loaded_a_model(metrics_port: int) -> bool:
    try:
        metrics = requests.get(f"http://{HOST}:{metrics_port}/metrics", timeout=10).text
    except requests.ConnectionError:
        return False
    return "moovitamix_stream_model_loads_total 1.0" in metrics


@contextmanager
def _broker(port: int, topic: str) -> Iterator[None]:
    broker = start_broker(port)
    try:
        create_topic(port, topic)
        yield
    finally:
        _stop(broker)


@contextmanager
def _consumer(settings: Settings, port: int, metrics_port: int) -> Iterator[None]:
    environment = {
        "STREAM_BOOTSTRAP_SERVERS": f"{HOST}:{port}",
        "STREAM_METRICS_PORT": str(metrics_port),
        "STREAM_SESSION_TIMEOUT_SECONDS": "1",
    }
    log = DataLayout(settings.data_dir).log("stream")
    with log.open("w") as file:
        consumer = subprocess.Popen(
            [sys.executable, "-m", "streaming"], cwd=ROOT, env=os.environ | environment, stdout=file, stderr=file
        )
    try:
        yield
    finally:
        _stop(consumer)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    process.kill()
