"""Standard input and output as commands find them: in a terminal, in cron, in a service, or closed."""

from __future__ import annotations

import os
import sys


def prepare_terminal() -> None:
    """No text fails to print for want of a character, and no file takes the number of a closed standard stream."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
            os.set_inheritable(number, True)  # a program that we start needs it as well
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, for the life of the process
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
