"""The supervisor's configuration, which changes if running services need a restart."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from supervisor.options import ClientOptions, ServerOptions

from core.errors import SettingsError
from core.settings import Settings
from services.local_services import ROOT, LocalServices, Ports, PrefectCredentials, ServiceProcess
from services.supervision import CONFIGURATION, Supervisor, changed_settings, render

PASSWORD = "pa55word-of-the-mail-server"
BEFORE = {"alert_urls": SecretStr(f"mailto://user:{PASSWORD}@h")}


def make_services(folder: Path, login: str = "", **settings: Any) -> LocalServices:
    all_settings = Settings(_env_file=None, data_dir=folder, **(BEFORE | settings))  # type: ignore[call-arg]
    credentials = PrefectCredentials(_env_file=None, prefect_server_api_auth_string=SecretStr(login))  # type: ignore[call-arg]
    return LocalServices(all_settings, Ports(_env_file=None), credentials)  # type: ignore[call-arg]


def rendered(folder: Path, login: str = "", **settings: Any) -> str:
    services = make_services(folder, login, **settings)
    return render(services, services.processes(), folder / "socket")


def test_same_settings_render_the_same_configuration(tmp_path: Path) -> None:
    assert rendered(tmp_path) == rendered(tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        {"alert_urls": SecretStr("")},
        {"alert_urls": SecretStr("mailto://other@h")},
        {"alert_look_seconds": 30},
        {"database_url": SecretStr("postgresql://user:other@h/d")},
        {"login": "user:other"},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_changed_secrets_change_the_configuration(tmp_path: Path, settings: dict[str, Any]) -> None:
    assert rendered(tmp_path, **settings).splitlines()[0] != rendered(tmp_path).splitlines()[0]


def test_settings_of_runs_do_not_change_the_configuration(tmp_path: Path) -> None:
    assert rendered(tmp_path, fetch_tries=2) == rendered(tmp_path)


def test_configuration_contains_no_secret(tmp_path: Path) -> None:
    assert PASSWORD not in rendered(tmp_path)


def test_changed_settings_are_listed_without_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FETCH_TRIES", "3")
    services = make_services(tmp_path, alert_look_seconds=15, moovitamix_api_url=f"https://user:{PASSWORD}@host")
    services.layout.services.mkdir()
    (services.layout.services / CONFIGURATION).write_text(render(services, services.processes(), tmp_path / "socket"))
    assert changed_settings(services) == []

    monkeypatch.setenv("FETCH_TRIES", "4")
    other_url = f"https://user:{PASSWORD}!@host"
    changed = changed_settings(
        make_services(
            tmp_path, "user:other", alert_look_seconds=30, moovitamix_api_url=other_url, alert_urls=SecretStr("")
        )
    )
    assert changed == [
        "ALERT_LOOK_SECONDS 15.0 -> 30.0",
        "ALERT_URLS (secret)",
        "FETCH_TRIES 3 -> 4",
        "MOOVITAMIX_API_URL (secret)",
        "PREFECT_SERVER_API_AUTH_STRING (secret)",
    ]


def test_configuration_of_an_older_version_is_reported(tmp_path: Path) -> None:
    services = make_services(tmp_path)
    services.layout.services.mkdir()
    (services.layout.services / CONFIGURATION).write_text("; 0123456789abcdef are the settings\n")
    assert changed_settings(services) == ["an older version started them"]


@pytest.mark.parametrize("name", ["100% é", "a #b ;c", "%(here)s $HOME", 'it\'s "quoted"', "long" * 60])
def test_supervisor_reads_the_configuration_in_any_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = make_services(tmp_path / name)
    services.layout.services.mkdir(parents=True)
    services.layout.logs.mkdir()
    text = render(services, services.processes(), Supervisor(services).socket)
    (services.layout.services / CONFIGURATION).write_text(text)
    monkeypatch.chdir(services.layout.services)
    options = ServerOptions()
    options.realize(["-c", CONFIGURATION])

    configurations = {
        config.name: config for group in options.process_group_configs for config in group.process_configs
    }
    for process in services.processes():
        configuration = configurations[process.name]
        assert shlex.split(configuration.command) == list(process.command)
        assert not configuration.environment
        assert Path(configuration.stdout_logfile).resolve() == services.layout.logs / f"{process.name}.log"
        assert configuration.directory == str(ROOT)
    [server] = options.server_configs
    assert server["file"] == str(Supervisor(services).socket)
    assert len(server["file"]) < 100


@pytest.mark.parametrize("name", ["plain", "100% #1"])
def test_supervisorctl_reaches_the_services_from_any_folder(name: str, shared_folder: Path) -> None:
    services = make_services(shared_folder / name)
    services.layout.services.mkdir(parents=True)
    text = render(services, services.processes(), Supervisor(services).socket)
    (services.layout.services / CONFIGURATION).write_text(text)
    options = ClientOptions()
    options.realize(["-c", str(services.layout.services / CONFIGURATION), "status"])
    assert options.serverurl == f"unix://{Supervisor(services).socket}"


def test_path_that_the_supervisor_cannot_read_is_refused(tmp_path: Path) -> None:
    services = make_services(tmp_path)
    process = ServiceProcess("worker", ("/a folder #1/python",))
    with pytest.raises(SettingsError, match="cannot use a path with ' ;' or ' #'"):
        render(services, [process], tmp_path / "socket")


def test_environments_of_processes_do_not_conflict(tmp_path: Path) -> None:
    services = make_services(tmp_path)
    variables = [(name, value) for process in services.processes() for name, value in process.environment.items()]
    assert len(dict(variables)) == len(set(variables))
    assert not dict(variables).keys() & services.environment.keys()


def test_temporary_files_of_services_are_in_the_data_folder(tmp_path: Path) -> None:
    assert make_services(tmp_path).environment["TMPDIR"] == str(tmp_path / "tmp")
