"""Standard streams of a command that runs in a terminal, in cron, in a service, or with closed streams."""

from __future__ import annotations

import os
import sys


def prepare_terminal() -> None:
    """Print any character in any encoding, and reserve the descriptors of closed standard streams."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free descriptor, which is the closed one
            os.set_inheritable(number, True)  # child processes need it too
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, for the life of the process
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
