"""Shared fixtures of tests that run complete flows."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows import ingest_tasks
from tests.conftest import MockApi
from tests.ingest_runs import quick_settings


@pytest.fixture
def quick(
    prefect_server: None, environment: Path, database: str, api: MockApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short time-outs and short retry delays."""
    for name, value in quick_settings(api.url, database, environment).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(ingest_tasks.land_pages, "retry_delay_seconds", 0.1)


@pytest.fixture
def run_log() -> Iterator[list[logging.LogRecord]]:
    """The log records of flow runs and task runs, from level INFO on."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    loggers = [logging.getLogger(f"prefect.{name}") for name in ("flow_runs", "task_runs")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
    yield records
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
        logger.removeHandler(handler)
