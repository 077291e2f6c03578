"""Shared fixtures of tests that run complete flows."""

from __future__ import annotations

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
