"""Run an interrupted flow: `python -m tests.e2e.interrupted_recommendation FLOW SIGNAL STEP WHEN`.

FLOW is `recommend` or `retrain`. STEP and WHEN are as in `tests.e2e.interrupted`. The model search uses few candidates.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys

from tests.e2e.interrupted import interrupt
from tests.publications import quick_candidates


def main() -> int:
    """Run the interrupted flow."""
    flow, signal_name, step, position = sys.argv[1:]
    with quick_candidates():
        interrupt(step, position, 1, lambda: os.kill(os.getpid(), signal.Signals[signal_name]))
        code: int = importlib.import_module(f"flows.{flow}").main([])
    return code


if __name__ == "__main__":
    sys.exit(main())
