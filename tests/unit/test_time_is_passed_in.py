"""Code uses the clock that it receives. Only listed files read the clock of the machine or of the database."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGES = (
    "core", "pipeline", "erasure", "expectations", "recommender", "serving", "notifications", "flows", "services",
    "cli", "compute", "streaming",
)  # fmt: skip
CLOCK_FUNCTIONS = {
    "datetime.now", "datetime.utcnow", "datetime.today", "date.today", "time.time", "time.time_ns", "time.localtime",
    "time.gmtime", "time.ctime", "time.strftime", "utc_now",
}  # fmt: skip
# Files that may read the machine's clock, with the reason.
ALLOWED = {
    "core/clock.py": "it implements the clock",
    "notifications/watchdog.py": "notifications concern this machine, even if CLOCK_FILE simulates another day",
    "notifications/failed_notifications.py": "as above: events of the Prefect server have the machine's time",
    "notifications/defects.py": "as above: a defect on this machine",
    "notifications/send_test.py": "as above: a test message is sent now",
    "notifications/lost_runs.py": "as above: the Prefect server has the machine's time",
    "core/tracebacks.py": "the time of a log entry",
    "flows/prefect_history.py": "files and Prefect runs have the machine's time",
    "flows/failures.py": "as above: a run that failed on this machine",
    "flows/events.py": "as above: the time in a notification",
    "flows/maintain.py": "files have the machine's time, and the database is unavailable on a full disk",
    "pipeline/landing.py": "files have the machine's time",
    "pipeline/client.py": "Retry-After is a real time, not a simulated one",
    "serving/request_limits.py": "the library that counts requests uses time.time()",
    "serving/request_logging.py": "the time of a log line",
    "serving/console/action_pages.py": "files of notifications have the machine's time",
    "serving/dashboard/page_builder.py": "files of notifications have the machine's time",
    "compute/certificates.py": "other machines check the validity of a certificate against real time",
    "streaming/lag.py": "the age of a message is a real time: producers stamp it with their clock",
    "streaming/consumer.py": "as above: the age of a message",
    "streaming/recommendation_updates.py": "as above: the age of a message",
    "services/local_services.py": "the mock API follows the machine's calendar",
}
# SQL files that may read the database's clock: rate limits of processes on several machines, whose clocks differ.
ALLOWED_SQL = {"sql/ops/request_rates.sql", "sql/serving/request_counts.sql"}
_CLOCKS_OF_POSTGRES = re.compile(
    r"\bnow\s*\(|\b(current_date|current_time|current_timestamp|localtime|localtimestamp)\b"
    r"|\b(clock_timestamp|statement_timestamp|transaction_timestamp|timeofday)\s*\(|'(now|today|tomorrow|yesterday)'",
    re.IGNORECASE,
)
_STATEMENT = re.compile(r"\b(select|insert|update|values|delete|create)\b")


def clock_reads(path: Path) -> Iterator[str]:
    """Places in a file that name a function that reads the machine's clock."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name):
            name = ".".join(ast.unparse(node).split(".")[-2:])
            if name in CLOCK_FUNCTIONS or name.rpartition(".")[2] == "utc_now":
                yield f"{path.relative_to(ROOT)}:{node.lineno} {name}"


@pytest.mark.parametrize("package", PACKAGES)
def test_only_listed_files_read_the_machines_clock(package: str) -> None:
    places = [
        place
        for path in sorted((ROOT / package).rglob("*.py"))
        if str(path.relative_to(ROOT)) not in ALLOWED
        for place in clock_reads(path)
    ]
    assert places == []


def test_listed_files_read_the_machines_clock() -> None:
    assert [name for name in ALLOWED if not list(clock_reads(ROOT / name))] == []


@pytest.mark.parametrize("folder", ["sql", "benchmarks", "tests"])
def test_no_sql_reads_the_clock_of_the_database(folder: str) -> None:
    """This covers queries and column defaults, so that all times come from one clock."""
    places = []
    for place, text in statements(ROOT / folder):
        places += [f"{place}: {match[0]}" for match in _CLOCKS_OF_POSTGRES.finditer(text)]
    listed = {place.partition(":")[0] for place in places} & ALLOWED_SQL
    assert [place for place in places if place.partition(":")[0] not in ALLOWED_SQL] == []
    assert folder != "sql" or listed == ALLOWED_SQL


def statements(folder: Path) -> Iterator[tuple[str, str]]:
    """The SQL files in a folder, and the strings in its Python files that look like SQL statements."""
    for path in sorted(folder.rglob("*.sql")):
        yield str(path.relative_to(ROOT)), re.sub(r"--[^\n]*", "", path.read_text())
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())) if path != Path(__file__) else ():
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and _STATEMENT.search(node.value):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node.value
