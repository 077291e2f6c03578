"""The machine and the versions that a run measured."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import psutil

from core.sessions import open_connection

_LIBRARIES = ("polars", "psycopg", "requests", "great-expectations", "prefect", "sqlalchemy", "msgspec")


def describe_machine(postgres: str) -> Mapping[str, str]:
    """Processor, cores, memory, load before the run, versions."""
    with open_connection(postgres) as connection:
        server = connection.info.parameter_status("server_version") or "unknown"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "Processor": _processor(),
        "Cores": str(cores),
        "Memory": f"{psutil.virtual_memory().total / 2**30:.0f} GB",
        "Load before the run": f"{os.getloadavg()[0]:.1f}",
        "System": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "Postgres": f"{server}, embedded",
        **{name: version(name) for name in _LIBRARIES},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
