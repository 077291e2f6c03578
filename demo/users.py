"""Three listeners, for people: what they played, what they are offered, and which played track is nearest to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg.rows import namedtuple_row
from rich.console import Console
from rich.table import Table
from rich.text import Text

from core.database import Connection
from core.queries import load_query

_SHOWN = 5
# Of different favourite genres, with enough plays to show some and not too many to read.
_THREE = """
select distinct on (listener.favorite_genres) listener.user_id, listener.favorite_genres as genre, count(*) as tracks
from mart.user_track_plays as plays
join mart.dim_users as listener using (user_id)
where listener.removed_at is null
group by listener.user_id, listener.favorite_genres
having count(*) between 10 and 40
order by listener.favorite_genres, count(*) desc, listener.user_id
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
    """One of the three: what is known of them, and their list."""

    who: Any
    played: list[Any]
    offered: list[Any]


@dataclass(frozen=True)
class RecommendationSummary:
    """Read from the database after all days."""

    publications: list[Any]
    listeners: list[ExampleUser]

    def show(self, console: Console) -> None:
        """Print it."""
        console.print("\n[bold]Published[/]  (the last one is live)")
        for one in self.publications:
            size = f"{one.rows:,} recommendations for {one.listeners:,} listeners, {one.tracks_covered:,} tracks"
            console.print(Text(f"  {one.publication_id}  {one.model:<22}{size}"), soft_wrap=True)
            console.print(Text(f"     {one.decision}: {one.why}"), soft_wrap=True, style="dim")
        for listener in self.listeners:
            console.print()
            console.print(_table(listener))


def read_recommendation_summary(connection: Connection) -> RecommendationSummary:
    """What went live, and the three listeners."""
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        publications = cursor.execute(_PUBLICATIONS).fetchall()
        three: list[Any] = cursor.execute(_THREE).fetchall()
        listeners = []
        for who in three:
            played = cursor.execute(_PLAYED, {"user_id": who.user_id, "tracks": _SHOWN}).fetchall()
            values = {"user_id": who.user_id, "ranks": _SHOWN}
            offered = cursor.execute(load_query("recommendations/explain_recommendations"), values).fetchall()
            listeners.append(ExampleUser(who, played, offered))
        return RecommendationSummary(publications, listeners)


def _table(listener: ExampleUser) -> Table:
    who = listener.who
    title = f"Listener {who.user_id}, who says they like {who.genre}, and played {who.tracks} tracks"
    table = Table(title=title, title_justify="left", title_style="bold", show_edge=False)
    for name in ("played most", "is offered", "because it is near to what they played"):
        table.add_column(name, no_wrap=True, max_width=46)
    for line in range(max(len(listener.played), len(listener.offered))):
        played = listener.played[line] if line < len(listener.played) else None
        offered = listener.offered[line] if line < len(listener.offered) else None
        table.add_row(
            f"{played.plays} x {played.title}, {played.artist}" if played else "",
            f"{offered.rank}. {offered.title}, {offered.artist}" if offered else "",
            f"{offered.near_title}, {offered.near_artist}" if offered and offered.near_title else "-",
        )
    return table
