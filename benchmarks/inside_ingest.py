"""`python -m flows.ingest` seen from inside: the same run, in parts that come one after the other.

`python -m benchmarks.inside_ingest STARTED_AT RESULT --day DAY`; STARTED_AT is the time at which the process was
asked for, RESULT the file to write seconds by part to. What the flow would import or start on its way is imported and
started first, so that it can be told apart; nothing is done that the flow would not do.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

PREFECT = "imports: interpreter, Prefect, ours"
GREAT_EXPECTATIONS = "imports: Great Expectations"
SERVER = "Prefect server start"
OURS = "our own work"
AUDIT = "audit"
ORCHESTRATION = "Prefect around the tasks"
END = "server stop and exit"


def main() -> int:
    """Run the flow; the exit code is the flow's."""
    started_at, result, *arguments = sys.argv[1:]
    seconds: dict[str, float] = {}
    reached = float(started_at)

    def pass_mark(part: str) -> None:
        nonlocal reached
        seconds[part], reached = time.time() - reached, time.time()

    import flows.ingest

    pass_mark(PREFECT)
    import expectations.checkpoint  # noqa: F401

    pass_mark(GREAT_EXPECTATIONS)
    from core.settings import load_settings
    from flows.temporary_prefect_server import ensure_prefect_api

    ensure_prefect_api(load_settings().data_dir)  # the one that the flow would start
    pass_mark(SERVER)
    _time_steps(flows.ingest, seconds)
    exit_code = flows.ingest.main(arguments)
    pass_mark(ORCHESTRATION)
    seconds[ORCHESTRATION] -= seconds[OURS] + seconds[AUDIT]
    Path(result).write_text(json.dumps({"seconds": seconds, "ended_at": reached}))
    return exit_code


def _time_steps(ingest: Any, seconds: dict[str, float]) -> None:
    """Let what the flow's tasks do, and opening and closing the run, add their time to its parts."""
    from flows import ingest_tasks

    seconds[OURS] = seconds[AUDIT] = 0.0
    for name in ("land_snapshot", "transform_landed_batch", "stage_transformed_batch", "publish_staged_batch"):
        setattr(ingest_tasks, name, _timed(getattr(ingest_tasks, name), OURS, seconds))
    ingest_tasks.audit_staged_batch = _timed(ingest_tasks.audit_staged_batch, AUDIT, seconds)
    open_run = ingest.open_run

    @contextmanager
    def timed_open_run(*args: Any, **options: Any) -> Iterator[Any]:
        began = time.time()
        with open_run(*args, **options) as run:
            seconds[OURS] += time.time() - began
            try:
                yield run
            finally:
                began = time.time()
        seconds[OURS] += time.time() - began

    ingest.open_run = timed_open_run


def _timed(work: Callable[Arguments, Result], part: str, seconds: dict[str, float]) -> Callable[Arguments, Result]:
    @wraps(work)
    def timed(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        began = time.time()
        try:
            return work(*args, **kwargs)
        finally:
            seconds[part] += time.time() - began

    return timed


if __name__ == "__main__":
    sys.exit(main())
