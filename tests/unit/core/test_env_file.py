"""Names in `.env` and in the environment: a misspelled setting is an error that suggests the correct name."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from core.errors import SettingsError
from core.settings import load_settings, setting_names
from tests.ordinary_user import acting_as_ordinary_user

ROOT = Path(__file__).parent.parent.parent.parent


@pytest.fixture(autouse=True)
def _empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))


def _error() -> str:
    with pytest.raises(SettingsError) as raised:
        load_settings()
    message = str(raised.value)
    assert "\n" not in message
    assert "hunter2" not in message
    return message


def test_one_error_lists_every_unknown_name_with_a_suggestion(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("ALERT_URL=hunter2\n# a comment\n\nTHRESHOLD_MAX_BLANK_SHAR=0.1\nMOCK_PROT=1\n")
    message = _error()
    assert "ALERT_URL in line 1 is no setting, did you mean ALERT_URLS?" in message
    assert "THRESHOLD_MAX_BLANK_SHAR in line 4 is no setting, did you mean THRESHOLD_MAX_BLANK_SHARE?" in message
    assert "MOCK_PROT in line 5 is no setting, did you mean MOCK_PORT?" in message


def test_a_variable_of_other_programs_belongs_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("HTTPS_PROXY=http://user:hunter2@proxy\n")
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    assert "HTTPS_PROXY in line 1 is no setting; if another program reads it, set it in the environment" in _error()
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy")  # as `EnvironmentFile=` of systemd does
    load_settings()


def test_every_documented_name_may_be_set(tmp_path: Path) -> None:
    documented = re.findall(r"^#?([A-Z][A-Z0-9_]+=.*)$", (ROOT / ".env.example").read_text(), re.M)
    (tmp_path / ".env").write_text("\n".join(line for line in documented if not line.endswith("=")))
    load_settings()
    composed = re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text())
    shell_names = {"NO_PROXY"}
    text = "\n".join(f"{name}=hunter2" for name in sorted(set(composed) - setting_names() - shell_names))
    (tmp_path / ".env").write_text(f"{text}\nCOMPOSE_PROJECT_NAME=a\nPREFECT_SERVER_API_HOST=b\n")
    load_settings()


@pytest.mark.parametrize(
    "text",
    [
        "export FETCH_THREADS=7\n",
        "\ufeffFETCH_THREADS=7\n",
        "PAGE_SIZE=10\r\nFETCH_THREADS=7\r\n",
        "FETCH_THREADS='7'\n",
        'FETCH_THREADS="7" # a comment\n',
        "  FETCH_THREADS = 7\n",
        "fetch_threads=7",
        "\n\nFETCH_THREADS=${MANY_THREADS:-7}\n",
    ],
)
def test_the_usual_formats_of_a_line_are_accepted(text: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(text.encode())
    assert load_settings().fetch_threads == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"PAGE_SIZE=1\nPAGE_SIZE=2\n", "PAGE_SIZE is set in line 1 and again in line 2"),
        (b"\n\nPAGE_SIZE\n", "line 3 must look like NAME=value"),
        (b'ALERT_URLS="hunter2\n', "line 1 must look like NAME=value"),
        (b"postgresql://user:hunter2@host/db?a=b\n", "line 1 must look like NAME=value"),
        (b"DATABASE_URL=postgresql://u:${hunter}2@h/d\n", "refers to ${hunter}, which is not set"),
        ("ALERT_URLS=hunter2é\n".encode("latin-1"), ".env is not UTF-8 text"),
        ("ALERT_URLS=hunter2\n".encode("utf-16"), ".env is not UTF-8 text"),
    ],
)
def test_the_error_names_a_line_that_would_be_misread(text: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(text)
    assert message in _error()


def test_the_error_names_a_folder_or_broken_link_in_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    assert ".env is a folder" in _error()
    (tmp_path / ".env").rmdir()
    (tmp_path / ".env").symlink_to(tmp_path / "nothing")
    assert ".env is no file, or a link to nothing" in _error()


def test_the_error_names_an_unreadable_file(shared_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shared_folder / ".env").write_text("PAGE_SIZE=1")
    (shared_folder / ".env").chmod(0)
    monkeypatch.chdir(shared_folder)
    with acting_as_ordinary_user():
        assert "wrong setting: .env cannot be read: Permission denied" in _error()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ALERT_URL", "ALERT_URLS"),
        ("THRESHOLD_MAX_BLANK_SHAR", "THRESHOLD_MAX_BLANK_SHARE"),
        ("MOOVITAMIX_API_URLS", "MOOVITAMIX_API_URL"),
        ("RETRAIN_CONFIDENCES", "RETRAIN_CONFIDENCE"),
        ("SERVING_HOSTS", "SERVING_HOST"),
        ("CONSOLE_PREFECT_API_ULR", "CONSOLE_PREFECT_API_URL"),
        ("DASK_SCHEDULLER", "DASK_SCHEDULER"),
        ("LANDING_URLL", "LANDING_URL"),
        ("RECOMMEND_PLAYD", "RECOMMEND_PLAYED"),
        ("RECOMMENDATION_DIVERSITI", "RECOMMENDATION_DIVERSITY"),
        ("SOURCE_REQUEST_PER_SECOND", "SOURCE_REQUESTS_PER_SECOND"),
    ],
)
def test_the_error_names_a_misspelled_setting_in_the_environment(
    name: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "hunter2")
    assert f"{name} is no setting, did you mean {meant}?" in _error()


def test_variables_of_other_programs_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """For example those that Kubernetes sets for services named `serving` and `moovitamix-api`."""
    for name in (
        *("MONITOR_X", "ALERT_EMAIL", "DATABASE_URI", "DATA_DIRS"),
        *("SERVING_SERVICE_HOST", "SERVING_PORT_8080_TCP", "SERVING_PORT_8080_TCP_ADDR"),
        *("MOOVITAMIX_API_SERVICE_HOST", "MOOVITAMIX_API_PORT_8000_TCP"),
        *("DASK_SCHEDULER_ADDRESS", "DASK_SCHEDULER_SERVICE_HOST", "DASK_SCHEDULER_PORT_8786_TCP_PORT", "MODELS_PORT"),
    ):
        monkeypatch.setenv(name, "hunter2")
    load_settings()


def test_the_environment_of_the_local_services_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    from services.local_services import load_local_services

    for name, value in load_local_services().environment.items():
        monkeypatch.setenv(name, value)
    assert os.environ["MOOVITAMIX_SERVICES"]
    load_settings()
