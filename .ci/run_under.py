"""Run the tests under another date, time zone, locale or load. `make test-under CONDITION=leap-day` calls it.

`.ci/shifted_clock.c` shifts the wall clock of the test process and its child processes. libfaketime cannot: release
0.9.10, which Debian and Ubuntu package, makes Python's waits on the monotonic clock fail or hang, and under release
3.0.1 from PyPI an idle Prefect server uses ten times its CPU time.

The shift does not reach times that the kernel sets (when a file was written, when a process started), statically
linked programs, programs that run with more rights than their caller, and processes whose environment was emptied.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

_ROOT = Path(__file__).parent.parent
_SOURCE = _ROOT / ".ci" / "shifted_clock.c"
# The tests start this long before midnight, or before the change of the clocks, so that it happens while they run.
_BEFORE = timedelta(minutes=6)

Moment = Callable[[datetime], datetime]


def _last_sunday(month: int) -> Moment:
    """Return 01:00 UTC on the last Sunday of a month, when Europe's clocks change."""

    def moment(now: datetime) -> datetime:
        for year in (now.year, now.year + 1):
            last_day = datetime(year, month, 31, 1, tzinfo=UTC)
            change = last_day - timedelta(days=(last_day.weekday() + 1) % 7)
            if change > now:
                return change
        raise ValueError("no change of the clocks in two years")

    return moment


def _next_month(now: datetime) -> datetime:
    return (now.replace(day=1) + timedelta(days=32)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _next_year(now: datetime) -> datetime:
    return datetime(now.year + 1, 1, 1, tzinfo=UTC)


def _leap_day(now: datetime) -> datetime:
    leap = next(year for year in range(now.year + 1, now.year + 9) if year % 4 == 0 and (year % 100 or year % 400 == 0))
    return datetime(leap, 2, 29, 12, tzinfo=UTC)


DATES: dict[str, Moment] = {
    "tomorrow": lambda now: now + timedelta(days=1),
    "end-of-month": lambda now: _next_month(now) - _BEFORE,
    "end-of-year": lambda now: _next_year(now) - _BEFORE,
    "leap-day": _leap_day,
    "summer-time-begins": lambda now: _last_sunday(3)(now) - _BEFORE,
    "summer-time-ends": lambda now: _last_sunday(10)(now) - _BEFORE,
}
ENVIRONMENTS: dict[str, dict[str, str]] = {
    "summer-time-begins": {"TZ": "Europe/Paris"},
    "summer-time-ends": {"TZ": "Europe/Paris"},
    "auckland": {"TZ": "Pacific/Auckland"},
    "c-locale": {"LC_ALL": "C"},
}
LOAD = "load"
CONDITIONS = sorted({*DATES, *ENVIRONMENTS, LOAD})


def environment(condition: str, now: datetime, library: Path) -> dict[str, str]:
    """Return the environment of a test run under the condition."""
    values = os.environ | ENVIRONMENTS.get(condition, {})
    if condition in DATES:
        shift = round((DATES[condition](now) - now).total_seconds())
        # All processes use one offset. With a date, each new process would start at that date again.
        values |= {"LD_PRELOAD": str(library), "CLOCK_SHIFT": str(shift)}
    return values


def _compile(directory: Path) -> Path:
    """Compile the shared library that shifts the clock into the directory, and return its path."""
    library = directory / "shifted_clock.so"
    compiler = shutil.which("cc")
    if compiler is None:
        sys.exit("error: a C compiler is missing; install gcc or clang so that `cc` is on PATH")
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, _SOURCE], check=True)
    # Processes of other users load it too, such as Postgres when root runs the tests.
    directory.chmod(0o755)
    return library


def main() -> int:
    """Run pytest under one condition, and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("condition", choices=CONDITIONS)
    arguments, pytest_arguments = parser.parse_known_args()
    command = [sys.executable, "-m", "pytest", "--numprocesses", "3", "--dist", "loadfile", "--no-loadscope-reorder"]
    with ExitStack() as stack, TemporaryDirectory() as directory:
        library = _compile(Path(directory)) if arguments.condition in DATES else Path()
        values = environment(arguments.condition, datetime.now(UTC), library)
        if arguments.condition == LOAD:
            for _ in range(os.cpu_count() or 1):
                load_process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
                stack.callback(load_process.wait)
                stack.callback(load_process.kill)
        return subprocess.run([*command, *pytest_arguments], cwd=_ROOT, env=values, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
