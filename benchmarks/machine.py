"""The machine and the versions that a run measured."""

from __future__ import annotations

import os
import platform
import re
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
    cpuinfo = Path("/proc/cpuinfo")
    processors = re.findall(r"^model name\s*: (.+)$", cpuinfo.read_text() if cpuinfo.exists() else "", re.MULTILINE)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "Processor": processors[0] if processors else platform.processor() or platform.machine(),
        "Cores": str(cores),
        "Memory": f"{psutil.virtual_memory().total / 2**30:.0f} GB",
        "Load before the run": f"{os.getloadavg()[0]:.1f}",
        "System": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "Postgres": f"{server}, embedded",
        **{name: version(name) for name in _LIBRARIES},
    }
