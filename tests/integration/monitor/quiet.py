"""Days of ten users with steady quality, and days on which quality falls."""

from __future__ import annotations

from core.database import connect
from tests.integration.monitor.world import (
    Connection,
    add_feedback,
    add_plays,
    at,
    create_publication,
    go_live,
    insert_batch,
    populate,
)

USERS = range(1, 11)
QUIET_DAYS = 6
# A track without recommendations, and a popular track.
UNLISTED_TRACK, POPULAR_TRACK = 301, 300


def recommended_tracks(user: int) -> list[int]:
    """The recommendations of a user: twenty tracks of their own, which may be played already."""
    return [20 * (user - 1) + place for place in range(1, 21)]


def quiet_days(database: str) -> None:
    """Publication 1 goes live at the start of day 0; days 0 to 5 are quiet, and day 6 has started."""
    populate(database, USERS, range(1, 303))
    with connect(database) as connection:
        lists = {user: recommended_tracks(user) for user in USERS}
        go_live(connection, create_publication(connection, lists, [POPULAR_TRACK], excludes_played=False), at(0, 0))
        for number in range(QUIET_DAYS):
            play_day(connection, number)
        start_day(connection, QUIET_DAYS)


def play_day(connection: Connection, number: int, *, hits: bool = True, useful: bool | None = None) -> None:
    """Each user plays one of the first recommendations (`hits`) or an unlisted track, and may give feedback."""
    add_plays(
        connection,
        *(
            (
                user,
                at(number, 12 + user / 100),
                ((recommended_tracks(user)[_rank(user, number)] if hits else UNLISTED_TRACK),),
            )
            for user in USERS
        ),
    )
    if useful is not None:
        for user in USERS:
            add_feedback(
                connection,
                user,
                recommended_tracks(user)[number % 20],
                useful and (user + number**2) % 7 != 0,
                at(number, 18),
            )


def start_day(connection: Connection, number: int, status: str = "published") -> None:
    """Ingest the plays of the previous day and the first play of this day."""
    add_plays(connection, (1, at(number, 0.5), (UNLISTED_TRACK,)))
    insert_batch(connection, number, status)


def days(connection: Connection, first: int, count: int, *, hits: bool = True, useful: bool | None = None) -> None:
    """Let `count` days pass; the first has started."""
    for number in range(first, first + count):
        play_day(connection, number, hits=hits, useful=useful)
        start_day(connection, number + 1)


def _rank(user: int, number: int) -> int:
    return (user * (number + 3) + number * number) % 6
