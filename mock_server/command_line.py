"""The command-line options: address, data, days, scenarios and faults."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mock_server.dates import parse_day
from mock_server.day_state import SimulationPlan
from mock_server.faults import FaultGroup, InvalidFault, read_groups
from mock_server.randomness import ID_SPACE
from mock_server.scenarios import NO_SCENARIOS, InvalidScenario, with_scenarios

HISTORY_DAYS = 548


@dataclass(frozen=True)
class MockServerOptions:
    """The parsed options."""

    plan: SimulationPlan
    day: dt.date
    follows_calendar: bool
    host: str
    port: int
    token: str | None
    faults: list[FaultGroup]
    plays_file: Path | None = None

    @property
    def host_in_url(self) -> str:
        """The host as a URL needs it: an IPv6 address in brackets."""
        return f"[{self.host}]" if ":" in self.host else self.host


def read_options(arguments: list[str] | None, today: dt.date) -> MockServerOptions:
    """Parse the arguments. Invalid options end the program with exit code 2 and a message."""
    parser = _parser()
    parsed = parser.parse_args(arguments)
    day = parsed.day or today
    base_day = parsed.base_day or day
    start = parsed.start or base_day - dt.timedelta(days=HISTORY_DAYS)
    if not start < base_day or not start < day:
        parser.error(f"--start {start} must be before --day {day} and --base-day {base_day}")
    try:
        faults = read_groups([_fault(text, parsed.fault_seed) for text in parsed.fault])
    except InvalidFault as error:
        parser.error(f"--fault: {error}")
    try:
        plan = _plan(parsed, start, base_day)
    except InvalidScenario as error:
        parser.error(str(error))
    return MockServerOptions(
        plan, day, parsed.day is None, parsed.host, parsed.port, parsed.token, faults, parsed.plays_file
    )


def _plan(parsed: argparse.Namespace, start: dt.date, base_day: dt.date) -> SimulationPlan:
    """The simulation plan of the options. Raises InvalidScenario."""
    counts = ("seed", "users", "tracks", "sessions", "plays_per_session")
    shares = ("growth", "new_sessions", "updates", "removals")
    sizes = {name: getattr(parsed, name) for name in counts + shares}
    return with_scenarios(
        SimulationPlan(start=start, base_day=base_day, **sizes),
        {name: getattr(parsed, name) for name in NO_SCENARIOS},
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mock_server",
        description="The mock of the MooVitamix API. The same seed, sizes and days give the same pages.",
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument(
        "--port", type=_integer(0, 65535), default=8000, help="port to listen on; 0 chooses a free port"
    )
    parser.add_argument("--token", help="answer only requests with this bearer token")
    _add_data(parser.add_argument_group("data"))
    _add_days(parser.add_argument_group("days"))
    _add_scenarios(parser.add_argument_group("scenarios", "events on chosen days; none by default"))
    faults = parser.add_argument_group("faults")
    faults.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="[ENDPOINT[/PAGE]:]NAME=VALUE",
        help='repeatable, such as error_share=0.1, tracks:half=true, users:bad_rows={"id_null":2}',
    )
    faults.add_argument("--fault-seed", type=_integer(0, 2**31), default=0)
    return parser


def _add_data(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--seed", type=_integer(0, 2**31), default=7)
    group.add_argument("--users", type=_integer(1, ID_SPACE // 2), default=1000, help="on the base day")
    group.add_argument("--tracks", type=_integer(1, ID_SPACE // 2), default=1000, help="on the base day")
    group.add_argument("--sessions", type=_integer(0, ID_SPACE // 2), default=1000, help="on the base day")
    group.add_argument(
        "--plays-per-session", type=_integer(1, 100), default=5, help="number of different tracks in a session"
    )


def _add_days(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--day", type=_date, help="the simulated day (default: today; it follows the calendar)")
    group.add_argument("--base-day", type=_date, help="the day that has exactly these sizes (default: --day)")
    group.add_argument(
        "--start", type=_date, help=f"the first day of the history (default: {HISTORY_DAYS} days before --base-day)"
    )
    group.add_argument(
        "--plays-file",
        type=Path,
        default=os.environ.get("MOCK_PLAYS_FILE"),
        help="file that keeps sessions that users start while the mock runs (default: MOCK_PLAYS_FILE)",
    )
    group.add_argument("--growth", type=_share, default=0.002, help="share of new users and tracks per day")
    group.add_argument("--new-sessions", type=_share, default=0.01, help="share of new sessions per day")
    group.add_argument("--updates", type=_share, default=0.005, help="share of rows that change per day")
    group.add_argument("--removals", type=_share, default=0.0005, help="share of rows that are removed per day")


def _add_scenarios(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--taste-shift",
        type=_shift,
        metavar="DAY=SHARE",
        help="from this day on, this share of the users has new tastes",
    )
    group.add_argument(
        "--catalogue-shift",
        type=_shift,
        metavar="DAY=SHARE",
        help="on this day a tenth more tracks appear, which get about this share of the plays from then on",
    )
    group.add_argument(
        "--outage",
        type=_outage,
        metavar="DAY",
        help="sessions of this day from 12:00 on are listed one day late",
    )


def _fault(text: str, seed: int) -> dict[str, Any]:
    """Parse one --fault option; "tracks/3:hang_share=1" applies to page 3 of the tracks."""
    setting, equals, value = text.partition("=")
    if not equals:
        raise InvalidFault(f"{text!r} does not have the form NAME=VALUE")
    scope, _, name = setting.rpartition(":")
    endpoint, _, page = scope.partition("/")
    group = {"seed": seed, name: _json_or_text(value)}
    if endpoint:
        group["endpoint"] = endpoint
    return group | ({"page": _json_or_text(page)} if page else {})


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _integer(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        number = int(text) if text.isdecimal() else -1
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
        return number

    return read


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return share


def _date(text: str) -> dt.date:
    try:
        return parse_day(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day like 2026-11-22") from error


def _shift(text: str) -> dict[str, Any]:
    day, _, share = text.partition("=")
    return _outage(day) | {"share": _share(share)}


def _outage(text: str) -> dict[str, Any]:
    return {"day": str(_date(text))}
