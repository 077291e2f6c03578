"""The supervisor's configuration changes when programs that run would have to be started again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from core.settings import Settings
from services.plan import Plan, Ports, PrefectLogin
from services.supervision import render

PASSWORD = "pa55word-of-the-mail-server"
BEFORE = {"alert_urls": SecretStr(f"mailto://user:{PASSWORD}@h")}


def rendered(folder: Path, login: str = "", **settings: Any) -> str:
    mine = Settings(_env_file=None, data_dir=folder, **(BEFORE | settings))  # type: ignore[call-arg]
    given = PrefectLogin(_env_file=None, prefect_server_api_auth_string=SecretStr(login))  # type: ignore[call-arg]
    plan = Plan(mine, Ports(_env_file=None), given)  # type: ignore[call-arg]
    return render(plan, plan.programs(), folder / "socket")


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
