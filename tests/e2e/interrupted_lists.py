"""A recommend or a retrain that is interrupted: `python -m tests.e2e.interrupted_lists FLOW SIGNAL STEP WHEN`.

FLOW is `recommend` or `retrain`; STEP and WHEN are as in `tests.e2e.interrupted`. Few candidates compete.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys

from tests.e2e.interrupted import interrupt
from tests.publications import quick_candidates


def main() -> int:
    """Run the flow, interrupted."""
    flow, number, step, when = sys.argv[1:]
    with quick_candidates():
        interrupt(step, when, 1, lambda: os.kill(os.getpid(), signal.Signals[number]))
        code: int = importlib.import_module(f"flows.{flow}").main([])
    return code


if __name__ == "__main__":
    sys.exit(main())
