"""Time comes from the clock that is passed in: nothing else reads the machine's, and no SQL the database's."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGES = (
    "core", "pipeline", "erasure", "expectations", "recommender", "serving", "notifications", "flows", "services",
)  # fmt: skip
READ_THE_MACHINE = {
    "datetime.now", "datetime.utcnow", "datetime.today", "date.today", "time.time", "time.time_ns", "time.localtime",
    "time.gmtime", "time.ctime", "time.strftime", "utc_now",
}  # fmt: skip
# Who may read the machine's clock, and why.
ALLOWED = {
    "core/clock.py": "it is the clock",
    "notifications/watchdog.py": "notifications are about this machine, also while CLOCK_FILE rehearses other days",
    "notifications/failed_notifications.py": "as above: events of Prefect's server have the machine's time",
    "notifications/defects.py": "as above: a defect on this machine",
    "notifications/send_test.py": "as above: a test message that is sent now",
    "notifications/lost_runs.py": "as above: Prefect's server has the machine's time",
    "core/tracebacks.py": "the time of an entry of the log",
    "flows/prefect_history.py": "times of files and of Prefect's runs are the machine's",
    "flows/failures.py": "as above: a run that failed on this machine",
    "flows/events.py": "as above: the time in a notification",
    "flows/maintain.py": "times of files are the machine's, and the database cannot be asked on a full disk",
    "pipeline/client.py": "Retry-After names a moment of the world, not of a rehearsal",
    "serving/access_control.py": "the library that counts requests uses time.time()",
    "serving/request_logging.py": "the time of a line of the log",
    "serving/dashboard/page_builder.py": "times of the files of alerts are the machine's",
    "services/local_services.py": "the mock API follows the machine's calendar, and begins with its day",
}
_CLOCKS_OF_POSTGRES = re.compile(
    r"\bnow\s*\(|\b(current_date|current_time|current_timestamp|localtime|localtimestamp)\b"
    r"|\b(clock_timestamp|statement_timestamp|transaction_timestamp|timeofday)\s*\(|'(now|today|tomorrow|yesterday)'",
    re.IGNORECASE,
)
_STATEMENT = re.compile(r"\b(select|insert|update|values|delete|create)\b")


def reads(path: Path) -> Iterator[str]:
    """Where a file names a function that reads the machine's clock, called or passed on."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name):
            name = ".".join(ast.unparse(node).split(".")[-2:])
            if name in READ_THE_MACHINE or name.rpartition(".")[2] == "utc_now":
                yield f"{path.relative_to(ROOT)}:{node.lineno} {name}"


@pytest.mark.parametrize("package", PACKAGES)
def test_only_what_is_listed_reads_the_machines_clock(package: str) -> None:
    found = [
        place
        for path in sorted((ROOT / package).rglob("*.py"))
        if str(path.relative_to(ROOT)) not in ALLOWED
        for place in reads(path)
    ]
    assert found == []


def test_what_is_listed_still_reads_it() -> None:
    assert [name for name in ALLOWED if not list(reads(ROOT / name))] == []


@pytest.mark.parametrize("folder", ["sql", "benchmarks", "tests"])
def test_no_statement_reads_the_clock_of_the_database(folder: str) -> None:
    """Neither a default of a column nor a query: data and pages are of one clock."""
    found = []
    for place, text in statements(ROOT / folder):
        found += [f"{place}: {match[0]}" for match in _CLOCKS_OF_POSTGRES.finditer(text)]
    assert found == []


def statements(folder: Path) -> Iterator[tuple[str, str]]:
    """The SQL files below a folder, and the texts in its Python files that look like statements."""
    for path in sorted(folder.rglob("*.sql")):
        yield str(path.relative_to(ROOT)), re.sub(r"--[^\n]*", "", path.read_text())
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())) if path != Path(__file__) else ():
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and _STATEMENT.search(node.value):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node.value
