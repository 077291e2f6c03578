"""Run an interrupted ingest: `python -m tests.e2e.interrupted SIGNAL MODULE:FUNCTION WHEN NTH [arguments]`.

The process sends itself SIGNAL directly before or after (WHEN) the nth call of the function. With `|TEXT` after
FUNCTION, only calls with this text as their first argument count.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any


def interrupt(step: str, position: str, nth: int, action: Callable[[], None]) -> Callable[[], None]:
    """Run `action` directly before or after the nth call of `module:function|text`. Returns an undo function."""
    function, _, text = step.partition("|")
    module_name, _, path = function.partition(":")
    owner: Any = importlib.import_module(module_name)
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    original, calls = getattr(owner, name), 0

    @wraps(original)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        matches = not text or arguments[:1] == (text,)
        calls += matches
        is_nth = matches and calls == nth
        if is_nth and position == "before":
            action()
        result = original(*arguments, **options)
        if is_nth and position == "after":
            action()
        return result

    setattr(owner, name, wrapped)
    return lambda: setattr(owner, name, original)


def main() -> int:
    """Run the interrupted ingest."""
    signal_name, step, position, nth, *arguments = sys.argv[1:]
    from flows.ingest import main as ingest

    interrupt(step, position, int(nth), lambda: os.kill(os.getpid(), signal.Signals[signal_name]))
    return ingest(arguments)


if __name__ == "__main__":
    sys.exit(main())
