"""`python -m flows.ingest` in consecutive parts that are timed.

`python -m benchmarks.inside_ingest STARTED_AT RESULT --day DAY`. STARTED_AT is the time at which the process was
started, RESULT the file for the seconds by part. The command starts Prefect's server before the flow, so that it can
be timed; it does nothing that the flow would not do.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

PREFECT = "imports: interpreter, Prefect, this project"
SERVER = "Prefect server start"
FLOW = "the flow"


def main() -> int:
    """Run the flow. Returns its exit code."""
    started_at, result, *arguments = sys.argv[1:]
    seconds: dict[str, float] = {}
    mark = float(started_at)

    def end_part(part: str) -> None:
        nonlocal mark
        seconds[part], mark = time.time() - mark, time.time()

    from flows.auditors import start_auditor_process

    start_auditor_process()
    import flows.ingest

    end_part(PREFECT)
    from core.settings import load_settings
    from flows.temporary_prefect_server import ensure_prefect_api

    ensure_prefect_api(load_settings().data_dir)  # the server that the flow would start
    end_part(SERVER)
    exit_code = flows.ingest.main(arguments)
    end_part(FLOW)
    Path(result).write_text(json.dumps({"seconds": seconds, "ended_at": mark}))
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
