"""`python -m serving.dashboard --output health.html`: write the health page to one file.

Exit 0: healthy. Exit 1: it needs attention or is broken; or it cannot be built, and then no file is written. Exit 2:
wrong usage or setting, or the file cannot be written.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from core.clock import clock_of
from core.errors import DatabaseError, MoovitamixError, UsageError
from core.exit_codes import returns_exit_code, run_main
from core.settings import Settings, load_settings
from core.terminal import prepare_terminal
from serving.dashboard.chart_renderer import ChartRenderer
from serving.dashboard.page import WORDS, HealthPage
from serving.dashboard.page_builder import HealthPageBuilder
from serving.database import Database, ensure_serving_database

_CHART_SECONDS = 120.0


async def build_page(settings: Settings) -> HealthPage:
    """The health page as of now, read over a separate connection."""
    try:
        url = ensure_serving_database(settings)
    except DatabaseError as error:  # the embedded server does not start
        return HealthPageBuilder(settings, Database("", 2), clock_of(settings)).page_without_database(
            error, trusted=True
        )
    database = Database(url, 2)
    await database.open()
    try:
        renderer = ChartRenderer(max_wait=_CHART_SECONDS)
        return await HealthPageBuilder(settings, database, clock_of(settings), renderer).current_page()
    finally:
        await database.close()


@returns_exit_code
def main(arguments: list[str] | None = None) -> int:
    """Write the file and print the health status."""
    prepare_terminal()
    parser = argparse.ArgumentParser(prog="python -m serving.dashboard", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="the file to write, such as health.html")
    output = parser.parse_args(arguments).output
    try:
        page = asyncio.run(build_page(load_settings(data_dir_is_written=False)))
    except OSError as error:
        message = f"the health page cannot be built: {error.strerror or type(error).__name__}"
        raise MoovitamixError(message) from error
    try:
        output.write_text(page.html, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}") from error
    print(f"{WORDS[page.health_status.state][1]}; {output}", file=sys.stderr)  # standard output may be the file
    for reason in page.health_status.reasons:
        print(f"  {reason.text}", file=sys.stderr)
    return 0 if page.health_status.state == "healthy" else 1


if __name__ == "__main__":
    sys.exit(run_main(main))
