"""Example users that `make demo` prints: tracks they played, their recommendations, and the explanation of each."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from psycopg.rows import namedtuple_row
from rich.console import Console
from rich.table import Table
from rich.text import Text

from core.database import Connection
from core.queries import load_query

_SHOWN = 5
# Users of different favourite genres with 10 to 40 tracks.
_USERS = """
select distinct on (users.favorite_genres) users.user_id, users.favorite_genres as genre, count(*) as tracks
from mart.user_track_plays as plays
join mart.dim_users as users using (user_id)
where users.removed_at is null
group by users.user_id, users.favorite_genres
having count(*) between 10 and 40
order by users.favorite_genres, count(*) desc, users.user_id
limit 3
"""
_PLAYED = """
select track.name as title, track.artist, plays.plays
from mart.user_track_plays as plays
join mart.dim_tracks as track using (track_id)
where plays.user_id = %(user_id)s
order by plays.plays desc, plays.last_played_at desc, plays.track_id
limit %(tracks)s
"""
_PUBLICATIONS = """
select publication.publication_id, run.model_run_id, run.model, run.decision, run.why, publication.listeners,
    publication.rows, publication.tracks_covered
from ml.live_publications
join ml.publications as publication using (publication_id)
join ml.model_runs as run using (model_run_id)
order by live_id
"""


@dataclass(frozen=True)
class ExampleUser:
    """A user with the tracks they played most and their recommendations."""

    profile: Any
    played_tracks: list[Any]
    recommendations: list[Any]


@dataclass(frozen=True)
class RecommendationSummary:
    """The publications that went live, and the example users."""

    publications: list[Any]
    users: list[ExampleUser]

    def show(self, console: Console) -> None:
        """Print the publications and the example users."""
        console.print("\n[bold]Published[/]  (the last one is live)")
        for run in self.publications:
            size = f"{run.rows:,} recommendations for {run.listeners:,} users, {run.tracks_covered:,} tracks"
            console.print(Text(f"  {run.publication_id}  {run.model:<22}{size}"), soft_wrap=True)
            console.print(Text(f"     {run.decision}: {run.why}"), soft_wrap=True, style="dim")
        for user in self.users:
            console.print()
            console.print(_table(user))


def read_recommendation_summary(connection: Connection) -> RecommendationSummary:
    """Read the publications that went live, and the example users."""
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        publications = cursor.execute(_PUBLICATIONS).fetchall()
        profiles: list[Any] = cursor.execute(_USERS).fetchall()
        users = []
        for profile in profiles:
            played_tracks = cursor.execute(_PLAYED, {"user_id": profile.user_id, "tracks": _SHOWN}).fetchall()
            values = {"user_id": profile.user_id, "ranks": _SHOWN}
            recommendations = cursor.execute(load_query("recommendations/explain_recommendations"), values).fetchall()
            users.append(ExampleUser(profile, played_tracks, recommendations))
        return RecommendationSummary(publications, users)


def _table(user: ExampleUser) -> Table:
    profile = user.profile
    title = f"User {profile.user_id}: favourite genre {profile.genre}, {profile.tracks} tracks played"
    table = Table(title=title, title_justify="left", title_style="bold", show_edge=False)
    for name in ("most played", "recommended", "because it is similar to"):
        table.add_column(name, no_wrap=True, max_width=46)
    for track, recommendation in zip_longest(user.played_tracks, user.recommendations):
        explained = recommendation and recommendation.near_title
        table.add_row(
            f"{track.plays} x {track.title}, {track.artist}" if track else "",
            f"{recommendation.rank}. {recommendation.title}, {recommendation.artist}" if recommendation else "",
            f"{recommendation.near_title}, {recommendation.near_artist}" if explained else "-",
        )
    return table
