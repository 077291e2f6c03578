"""The supervisor's configuration changes when programs that run would have to be started again."""

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


def _plan(folder: Path, login: str = "", **settings: Any) -> LocalServices:
    mine = Settings(_env_file=None, data_dir=folder, **(BEFORE | settings))  # type: ignore[call-arg]
    given = PrefectCredentials(_env_file=None, prefect_server_api_auth_string=SecretStr(login))  # type: ignore[call-arg]
    return LocalServices(mine, Ports(_env_file=None), given)  # type: ignore[call-arg]


def rendered(folder: Path, login: str = "", **settings: Any) -> str:
    services = _plan(folder, login, **settings)
    return render(services, services.processes(), folder / "socket")


def test_the_same_settings_are_the_same(tmp_path: Path) -> None:
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
def test_other_addresses_and_logins_are_other_settings(tmp_path: Path, settings: dict[str, Any]) -> None:
    assert rendered(tmp_path, **settings).splitlines()[0] != rendered(tmp_path).splitlines()[0]


def test_what_only_runs_read_may_change(tmp_path: Path) -> None:
    assert rendered(tmp_path, fetch_tries=2) == rendered(tmp_path)


def test_no_secret_is_written_down(tmp_path: Path) -> None:
    assert PASSWORD not in rendered(tmp_path)


def test_another_setting_is_named_with_both_values_and_a_secret_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FETCH_TRIES", "3")
    services = _plan(tmp_path, alert_look_seconds=15, moovitamix_api_url=f"https://user:{PASSWORD}@host")
    services.layout.services.mkdir()
    (services.layout.services / CONFIGURATION).write_text(render(services, services.processes(), tmp_path / "socket"))
    assert changed_settings(services) == []

    monkeypatch.setenv("FETCH_TRIES", "4")
    other = f"https://user:{PASSWORD}!@host"
    changed = changed_settings(
        _plan(tmp_path, "user:other", alert_look_seconds=30, moovitamix_api_url=other, alert_urls=SecretStr(""))
    )
    assert changed == [
        "ALERT_LOOK_SECONDS 15.0 -> 30.0",
        "ALERT_URLS (secret)",
        "FETCH_TRIES 3 -> 4",
        "MOOVITAMIX_API_URL (secret)",
        "PREFECT_SERVER_API_AUTH_STRING (secret)",
    ]


def test_a_configuration_of_an_older_version_is_named(tmp_path: Path) -> None:
    services = _plan(tmp_path)
    services.layout.services.mkdir()
    (services.layout.services / CONFIGURATION).write_text("; 0123456789abcdef are the settings\n")
    assert changed_settings(services) == ["an older version started them"]


@pytest.mark.parametrize("name", ["100% é", "a #b ;c", "%(here)s $HOME", 'it\'s "quoted"', "long" * 60])
def test_the_supervisor_reads_what_was_meant_whatever_the_folder_is_called(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = _plan(tmp_path / name)
    services.layout.services.mkdir(parents=True)
    services.layout.logs.mkdir()
    text = render(services, services.processes(), Supervisor(services).socket)
    (services.layout.services / CONFIGURATION).write_text(text)
    monkeypatch.chdir(services.layout.services)
    options = ServerOptions()
    options.realize(["-c", CONFIGURATION])

    programs = {one.name: one for group in options.process_group_configs for one in group.process_configs}
    for program in services.processes():
        read = programs[program.name]
        assert shlex.split(read.command) == list(program.command)
        assert not read.environment
        assert Path(read.stdout_logfile).resolve() == services.layout.logs / f"{program.name}.log"
        assert read.directory == str(ROOT)
    [server] = options.server_configs
    assert server["file"] == str(Supervisor(services).socket)
    assert len(server["file"]) < 100


@pytest.mark.parametrize("name", ["plain", "100% #1"])
def test_supervisorctl_reaches_the_services_of_this_data_folder_from_any_folder(name: str, shared_folder: Path) -> None:
    services = _plan(shared_folder / name)
    services.layout.services.mkdir(parents=True)
    text = render(services, services.processes(), Supervisor(services).socket)
    (services.layout.services / CONFIGURATION).write_text(text)
    options = ClientOptions()
    options.realize(["-c", str(services.layout.services / CONFIGURATION), "status"])
    assert options.serverurl == f"unix://{Supervisor(services).socket}"


def test_a_path_that_the_supervisor_cannot_read_is_named(tmp_path: Path) -> None:
    services = _plan(tmp_path)
    program = ServiceProcess("worker", ("/a folder #1/python",))
    with pytest.raises(SettingsError, match="cannot use a path with ' ;' or ' #'"):
        render(services, [program], tmp_path / "socket")


def test_what_one_program_is_told_contradicts_no_other(tmp_path: Path) -> None:
    services = _plan(tmp_path)
    told = [(name, value) for program in services.processes() for name, value in program.environment.items()]
    assert len(dict(told)) == len(set(told))
    assert not dict(told).keys() & services.environment.keys()


def test_temporary_files_of_services_are_in_the_data_folder(tmp_path: Path) -> None:
    assert _plan(tmp_path).environment["TMPDIR"] == str(tmp_path / "tmp")
