"""Days of ten listeners on which nothing happens, and days on which quality fell."""

from __future__ import annotations

from core.database import connect
from tests.integration.monitor.world import Connection, answer, at, go_live, ingest, make, play, populate

LISTENERS = range(1, 11)
QUIET_DAYS = 6
# A track that is on no list, one that is popular, and those of a listener's list, which may hold played ones.
NOWHERE, POPULAR = 301, 300


def on_list(user: int) -> list[int]:
    """The list of a listener: twenty tracks of their own."""
    return [20 * (user - 1) + place for place in range(1, 21)]


def quiet_days(database: str) -> None:
    """Publication 1 goes live at the begin of day 0; days 0 to 5 are quiet, and day 6 has begun."""
    populate(database, LISTENERS, range(1, 303))
    with connect(database) as connection:
        lists = {user: on_list(user) for user in LISTENERS}
        go_live(connection, make(connection, lists, [POPULAR], excludes_played=False), at(0, 0))
        for number in range(QUIET_DAYS):
            pass_day(connection, number)
        begin_day(connection, QUIET_DAYS)


def pass_day(connection: Connection, number: int, *, hits: bool = True, useful: bool | None = None) -> None:
    """Everybody plays something of the first places of their list, or nothing of it, and the popular track or not."""
    play(
        connection,
        *(
            (user, at(number, 12 + user / 100), ((on_list(user)[_place(user, number)] if hits else NOWHERE),))
            for user in LISTENERS
        ),
    )
    if useful is not None:
        for user in LISTENERS:
            answer(
                connection,
                user,
                on_list(user)[number % 20],
                useful and (user + number**2) % 7 != 0,
                at(number, 18),
            )


def begin_day(connection: Connection, number: int, status: str = "published") -> None:
    """The listens of the day before come in, with the first of this one."""
    play(connection, (1, at(number, 0.5), (NOWHERE,)))
    ingest(connection, number, status)


def days(connection: Connection, first: int, count: int, *, hits: bool = True, useful: bool | None = None) -> None:
    """So many days pass, the first of which has begun."""
    for number in range(first, first + count):
        pass_day(connection, number, hits=hits, useful=useful)
        begin_day(connection, number + 1)


def _place(user: int, number: int) -> int:
    return (user * (number + 3) + number * number) % 6
