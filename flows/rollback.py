"""Rollback: put a publication that is kept back in place of the one that is live, in one transaction.

`python -m flows.rollback [PUBLICATION_ID]` runs it without a server; without a number, it is the one before.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Annotated

from prefect import flow
from pydantic import Field

from core.clock import clock_of
from core.database import connect
from core.exit_codes import run_main
from core.roles import RECOMMENDER, ensure_schema_for_role
from core.settings import load_settings
from core.tracebacks import keep_logs_readable
from flows.command_line import run_command
from flows.failures import handle_failures
from flows.json_results import add_json_option
from recommender.publishing import publication

Number = Annotated[int, Field(ge=1)]


@flow(name="rollback", flow_run_name="rollback", validate_parameters=False)
@handle_failures
def rollback(publication_id: Number | None = None, why: str = "rolled back by hand") -> int:
    """Make a publication live again; its model is the champion from then on.

    Args:
        publication_id: Which one (ml.publications); the one that was live before, when left out.
        why: Written down with it.

    Returns its number. Raises UnusablePublication when it is unknown, was never live, or its lists were pruned.
    """
    keep_logs_readable()
    # No lock of the warehouse: it must be quick, also while an ingest or a training runs.
    settings = load_settings()
    with connect(ensure_schema_for_role(settings, RECOMMENDER)) as connection:
        wanted = publication_id or publication.previous_live_publication(connection)
        publication.roll_back(connection, wanted, now=clock_of(settings)(), why=why)
    print(f"publication {wanted} is live", flush=True)
    return wanted


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the flow from a command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flows.rollback", description=__doc__)
    parser.add_argument("publication_id", type=int, nargs="?", help="which publication (default: the one before)")
    parser.add_argument("--why", default="rolled back by hand", help="written down with it")
    add_json_option(parser)
    asked = parser.parse_args(arguments)
    if asked.publication_id is not None and asked.publication_id < 1:
        parser.error("PUBLICATION_ID must be 1 or more")
    # Without Prefect's engine around it: what is needed in haste must not need one server more.
    return run_command(
        rollback.fn,
        name="rollback",
        as_json=asked.json,
        result_name="publication_id",
        publication_id=asked.publication_id,
        why=asked.why,
    )


if __name__ == "__main__":
    sys.exit(run_main(main))
