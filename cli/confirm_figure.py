"""Confirm that an unusual figure of a batch is correct: `moovitamix confirm BATCH_ID FIGURE --why WHY --by WHO`.

Later days are compared with it, and the decision is stored in ops.confirmed_figures.
Exit code 0: done, or confirmed before; 1: the database does not answer; 2: the figure is not unusual, or wrong usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from core.clock import clock_of
from core.database import connect
from core.exit_codes import returns_exit_code, run_main
from core.roles import INGEST, ensure_schema_for_role
from core.settings import load_settings
from core.terminal import prepare_terminal
from pipeline.batch_figures import confirm_figure


@returns_exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Record the confirmation. Returns the exit code."""
    prepare_terminal()
    parser = argparse.ArgumentParser(prog="python -m cli.confirm_figure", description=__doc__)
    parser.add_argument("batch_id", help="such as listen_history-2026-11-22")
    parser.add_argument("figure", help="such as sessions; ops.batch_figures lists the figures of each batch")
    parser.add_argument("--why", required=True, help="reason, stored with the decision")
    parser.add_argument("--by", required=True, metavar="WHO", help="a ticket or a team, no e-mail address")
    options = parser.parse_args(arguments)
    settings = load_settings()
    with connect(ensure_schema_for_role(settings, INGEST)) as connection:
        confirm_figure(
            connection,
            options.batch_id,
            options.figure,
            reason=options.why,
            confirmed_by=options.by,
            now=clock_of(settings)(),
        )
    print(f"{options.figure} of {options.batch_id} is confirmed; later days are compared with it")
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
