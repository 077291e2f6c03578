"""Finds child processes by the module that they run."""

from __future__ import annotations

from contextlib import suppress

import psutil


def children_running(module: str, parent: psutil.Process | None = None) -> list[psutil.Process]:
    """The children of `parent` that run the module; by default those of this process. Ended children are left out."""
    children = []
    for child in (parent or psutil.Process()).children():
        with suppress(psutil.NoSuchProcess):
            if module in child.cmdline():
                children.append(child)
    return children
