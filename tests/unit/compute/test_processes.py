"""The functions that scheduler and worker of the Dask cluster share."""

from __future__ import annotations

import pytest

from compute import worker
from compute.processes import refuse_open_port
from core.errors import SettingsError
from core.settings import Settings


@pytest.fixture
def settings_without_tls() -> Settings:
    return Settings(_env_file=None)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "host", ["", "0.0.0.0", "::", "[::]", "[0::0]", "[::ffff:0.0.0.0]", "0", "10.0.0.1", "cluster"]
)
def test_port_of_other_machines_is_refused_without_tls(settings_without_tls: Settings, host: str) -> None:
    with pytest.raises(SettingsError, match="DASK_TLS_CA_FILE"):
        refuse_open_port(settings_without_tls, host)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_port_of_this_machine_needs_no_tls(settings_without_tls: Settings, host: str) -> None:
    refuse_open_port(settings_without_tls, host)


@pytest.mark.parametrize("option", ["--threads=0", "--threads=-1", "--trials=-1"])
def test_worker_refuses_numbers_that_are_too_small(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        worker.main([option])
    assert f"argument {option.partition('=')[0]}: must be at least" in capsys.readouterr().err
