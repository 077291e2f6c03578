"""Exit codes of commands, and the line that a person reads when a command fails.

0: done. 1: it failed. 2: wrong usage or settings. 130: stopped with Ctrl-C.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import ParamSpec

from core.errors import MoovitamixError, SettingsError

FAILED, WRONG_USAGE, STOPPED = 1, 2, 130
_Arguments = ParamSpec("_Arguments")


def exit_code_and_message(error: BaseException) -> tuple[int, str]:
    """The exit code for an error, and its message. Raises errors that no command handles, such as SystemExit."""
    if isinstance(error, KeyboardInterrupt):
        return STOPPED, "stopped; run it again to go on"
    if not isinstance(error, Exception):
        raise error
    from core.tracebacks import message_for_user  # imports pydantic: `moovitamix --help` must start fast

    return WRONG_USAGE if isinstance(error, SettingsError) else FAILED, f"error: {message_for_user(error)}"


def print_error(error: BaseException) -> int:
    """Print an error as one line on stderr. Returns the exit code."""
    code, message = exit_code_and_message(error)
    print(message, file=sys.stderr)
    return code


def returns_exit_code(main: Callable[_Arguments, int | None]) -> Callable[_Arguments, int]:
    """Let `main` return an exit code instead of raising a MoovitamixError or KeyboardInterrupt."""

    @wraps(main)
    def command(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> int:
        try:
            return main(*args, **kwargs) or 0
        except (MoovitamixError, KeyboardInterrupt) as error:
            return print_error(error)

    return command


def run_main(main: Callable[[], int | None]) -> int:
    """Run the `main` of a module as a command: no error shows a traceback. Returns the exit code."""
    from core.tracebacks import hide_tracebacks

    hide_tracebacks()
    try:
        code = main() or 0
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output has ended, as with `| head`
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (Exception, KeyboardInterrupt) as error:
        return print_error(error)
    return code
