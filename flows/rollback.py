"""Rollback: make an earlier publication live again, in one transaction.

`python -m flows.rollback [PUBLICATION_ID]` runs without a Prefect server. The default is the previous publication.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Annotated

from prefect import flow
from prefect.artifacts import create_table_artifact
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
from flows.lineage import lineage_of_run, lineage_of_step
from flows.state_messages import ends_with
from recommender.publishing import publication

Number = Annotated[int, Field(ge=1)]


@flow(name="rollback", flow_run_name="rollback", validate_parameters=False)
@ends_with("publication {} is live".format)
@handle_failures
def rollback(publication_id: Number | None = None, why: str = "rolled back by hand") -> int:
    """Make a publication live again. Its model becomes the champion.

    Args:
        publication_id: Id in ml.publications. Default: the publication that was live before.
        why: Reason, stored with the publication.

    Returns its id. Raises UnusablePublication if it is unknown, was never live, or its recommendations were deleted.
    """
    target_id = roll_back(publication_id, why)
    create_table_artifact(
        key="rollback-publication",
        table=[{"publication": target_id, "why": why}],
        description="The publication that is live again. Its model is the champion.",
    )
    return target_id


def roll_back(publication_id: Number | None, why: str) -> int:
    """Make a publication live again, and return its id. Raises UnusablePublication, DatabaseError."""
    keep_logs_readable()
    settings = load_settings()
    clock = clock_of(settings)
    # A rollback is urgent, so it does not wait for the warehouse lock of an ingest.
    with (
        connect(ensure_schema_for_role(settings, RECOMMENDER)) as connection,
        lineage_of_run(flow="rollback", connection=connection, settings=settings, clock=clock) as lineage,
    ):
        with lineage_of_step(lineage, "switch_publication", clock):
            target_id = publication_id or publication.previous_live_publication(connection)
            publication.roll_back(connection, target_id, now=clock(), why=why)
        print(f"publication {target_id} is live", flush=True)
    return target_id


def main(arguments: Sequence[str] | None = None) -> int:
    """Roll back from a command line, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flows.rollback", description=__doc__)
    parser.add_argument(
        "publication_id", type=int, nargs="?", help="publication (default: the publication before the live one)"
    )
    parser.add_argument("--why", default="rolled back by hand", help="reason, stored with the publication")
    add_json_option(parser)
    options = parser.parse_args(arguments)
    if options.publication_id is not None and options.publication_id < 1:
        parser.error("PUBLICATION_ID must be 1 or more")
    # Called without Prefect: an urgent command must not depend on a server.
    return run_command(
        handle_failures(roll_back, run_name="rollback"),
        name="rollback",
        as_json=options.json,
        result_name="publication_id",
        publication_id=options.publication_id,
        why=options.why,
    )


if __name__ == "__main__":
    sys.exit(run_main(main))
