"""An ingest that is interrupted: `python -m tests.e2e.interrupted SIGNAL MODULE:FUNCTION WHEN NTH [arguments]`.

FUNCTION may be followed by `|TEXT`: then only calls with that text as their first argument count.
The process sends itself SIGNAL right before or after (WHEN) the nth call of the function. All else is the real thing.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any


def interrupt(step: str, when: str, nth: int, action: Callable[[], None]) -> Callable[[], None]:
    """Do something right before or after the nth call of `module:function|text`; returns how to undo that."""
    function, _, text = step.partition("|")
    module_name, _, path = function.partition(":")
    owner: Any = importlib.import_module(module_name)
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    real, calls = getattr(owner, name), 0

    @wraps(real)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        meant = not text or arguments[:1] == (text,)
        calls += meant
        now = meant and calls == nth
        if now and when == "before":
            action()
        result = real(*arguments, **named)
        if now and when == "after":
            action()
        return result

    setattr(owner, name, wrapped)
    return lambda: setattr(owner, name, real)


def main() -> int:
    """Run the ingest, interrupted."""
    number, step, when, nth, *arguments = sys.argv[1:]
    from flows.ingest import main as ingest

    interrupt(step, when, int(nth), lambda: os.kill(os.getpid(), signal.Signals[number]))
    return ingest(arguments)


if __name__ == "__main__":
    sys.exit(main())
