"""Finds child processes by the module that they run."""

from __future__ import annotations

from contextlib import suppress

import psutil


def children_running(module: str, parent: psutil.Process | None = None) -> list[psutil.Process]:
    """The children of a process, or of this one, that run the module. Children that end meanwhile are left out."""
    found = []
    for child in (parent or psutil.Process()).children():
        with suppress(psutil.NoSuchProcess):
            if module in child.cmdline():
                found.append(child)
    return found
