from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from core.settings import Settings
from services.local_services import LocalServices, Ports, PrefectCredentials


def test_base_day_of_the_mock_api_is_recorded_once(tmp_path: Path) -> None:
    services = LocalServices(Settings(data_dir=tmp_path), Ports(), PrefectCredentials())
    assert services.mock_base_day == str(datetime.now(UTC).date())
    assert services.processes()
    assert list(tmp_path.iterdir()) == []  # reading writes nothing

    services.record_mock_base_day()
    assert services.mock_base_day == str(datetime.now(UTC).date())
    (tmp_path / "services" / "mock_base_day").write_text("2026-11-22\n")
    services.record_mock_base_day()
    assert services.mock_base_day == "2026-11-22"
    (mock,) = (process for process in services.processes() if process.name == "mock-api")
    assert "2026-11-22" in mock.command
