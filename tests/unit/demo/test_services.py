"""What `make demo-up` starts, and at which time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.clock import clock_of
from core.data_layout import DataLayout
from demo import services as demo_services
from demo.environment import DemoError
from demo.services import addresses, demo_folder, main, planned_services


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A DATA_DIR with a finished demo. The environment and the working folder are restored."""
    folder = DataLayout(tmp_path).demo("weeks")
    DataLayout(folder).postgres.mkdir(parents=True)
    DataLayout(folder).postgres_version.write_text("18\n")
    (folder / "clock").write_text("2026-10-01T12:00:00+00:00\n")
    before, working_folder = dict(os.environ), Path.cwd()
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("ALERT_URLS", "json://example.org")  # a setting of the installation, not of the demo
    yield tmp_path
    os.chdir(working_folder)
    os.environ.clear()
    os.environ.update(before)


def test_demo_is_opened_at_the_time_of_its_last_day_without_workers(data_dir: Path) -> None:
    services = demo_services._prepare(demo_folder(data_dir))
    assert [process.name for process in planned_services(services)] == [
        *("postgres", "data-docs", "serving", "prefect-server")
    ]
    assert clock_of(services.settings)() == datetime(2026, 10, 1, 12, tzinfo=UTC)
    assert services.settings.data_dir == DataLayout(data_dir).demo("weeks")
    assert services.settings.alert_urls.get_secret_value() == ""
    ports = {process.port for process in planned_services(services) if process.port}
    assert len(ports) == 3
    assert {"Console", "Data Docs", "Prefect"} == {name for name, url in addresses(services) if url}
    assert all(str(port) in " ".join(url for _, url in addresses(services)) for port in ports)


def test_without_a_demo_the_command_says_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DemoError, match="run `make demo` first"):
        demo_folder(tmp_path)
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    assert main([]) == 1
    assert "run `make demo` first" in capsys.readouterr().err
