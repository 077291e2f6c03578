"""`python -m flows.ingest` in consecutive parts that are timed.

`python -m benchmarks.inside_ingest STARTED_AT RESULT --day DAY`. STARTED_AT is the time at which the process was
started, RESULT the file for the seconds by part. The command imports Great Expectations and starts Prefect's server
before the flow, so that they can be timed; it does nothing that the flow would not do.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

PREFECT = "imports: interpreter, Prefect, this project"
GREAT_EXPECTATIONS = "imports: Great Expectations"
SERVER = "Prefect server start"
STEPS = "steps of the flow"
AUDIT = "audit"
ORCHESTRATION = "Prefect around the tasks"
END = "server stop and exit"


def main() -> int:
    """Run the flow. Returns its exit code."""
    started_at, result, *arguments = sys.argv[1:]
    seconds: dict[str, float] = {}
    mark = float(started_at)

    def end_part(part: str) -> None:
        nonlocal mark
        seconds[part], mark = time.time() - mark, time.time()

    import flows.ingest

    end_part(PREFECT)
    import expectations.checkpoint  # noqa: F401

    end_part(GREAT_EXPECTATIONS)
    from core.settings import load_settings
    from flows.temporary_prefect_server import ensure_prefect_api

    ensure_prefect_api(load_settings().data_dir)  # the one that the flow would start
    end_part(SERVER)
    _time_steps(flows.ingest, seconds)
    exit_code = flows.ingest.main(arguments)
    end_part(ORCHESTRATION)
    seconds[ORCHESTRATION] -= seconds[STEPS] + seconds[AUDIT]
    Path(result).write_text(json.dumps({"seconds": seconds, "ended_at": mark}))
    return exit_code


def _time_steps(ingest: Any, seconds: dict[str, float]) -> None:
    """Wrap the functions of the flow's tasks, and the opening and closing of its run, in timers."""
    from flows import ingest_tasks

    seconds[STEPS] = seconds[AUDIT] = 0.0

    def wrap(function: Callable[Arguments, Result], part: str) -> Callable[Arguments, Result]:
        def timed(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            started = time.time()
            try:
                return function(*args, **kwargs)
            finally:
                seconds[part] += time.time() - started

        return timed

    for name in ("land_snapshot", "transform_landed_batch", "stage_transformed_batch", "publish_staged_batch"):
        setattr(ingest_tasks, name, wrap(getattr(ingest_tasks, name), STEPS))
    ingest_tasks.audit_staged_batch = wrap(ingest_tasks.audit_staged_batch, AUDIT)
    open_run = ingest.open_run

    @contextmanager
    def timed_open_run(*args: Any, **options: Any) -> Iterator[Any]:
        started = time.time()
        with open_run(*args, **options) as run:
            seconds[STEPS] += time.time() - started
            try:
                yield run
            finally:
                started = time.time()
        seconds[STEPS] += time.time() - started

    ingest.open_run = timed_open_run


if __name__ == "__main__":
    sys.exit(main())
