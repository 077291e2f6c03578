"""Addresses of notifications: several in one setting, identified, and never printed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from apprise import Apprise
from pydantic import SecretStr

from core.errors import SettingsError
from core.settings import Settings, load_settings
from notifications.delivery import addresses, send
from notifications.incidents import IncidentStore
from serving.dashboard.incidents import read_incidents

MAIL = "mailtos://user:s3cret@smtp.example.org?to=a@example.org,b@example.org"
CHAT = "slack://s3cret/token"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> pytest.MonkeyPatch:
    monkeypatch.setenv("DATA_DIR", str(tmp_path_factory.mktemp("data")))
    return monkeypatch


@pytest.mark.parametrize("between", [" ", ",", ", ", "\n", " ,\n"])
def test_setting_holds_several_addresses(environment: pytest.MonkeyPatch, between: str) -> None:
    environment.setenv("ALERT_URLS", f"  {MAIL}{between}{CHAT}, ")
    configured = addresses(load_settings())
    assert [(address.name, address.url) for address in configured] == [
        ("address 1", f"{MAIL}&format=text"),
        ("address 2", CHAT),
    ]


def test_duplicate_addresses_are_merged() -> None:
    settings = Settings(_env_file=None, alert_urls=SecretStr(f"{CHAT} {CHAT}"))  # type: ignore[call-arg]
    assert len(addresses(settings)) == 1


def test_id_of_an_address_does_not_depend_on_its_position() -> None:
    first, second = (
        addresses(Settings(_env_file=None, alert_urls=SecretStr(text)))  # type: ignore[call-arg]
        for text in (f"{MAIL} {CHAT}", CHAT)
    )
    assert first[1].id == second[0].id


@pytest.mark.parametrize("wrong", ["s3cret", "user:s3cret@host", f"{CHAT} s3cret"])
def test_invalid_address_is_refused_without_being_printed(environment: pytest.MonkeyPatch, wrong: str) -> None:
    environment.setenv("ALERT_URLS", wrong)
    with pytest.raises(SettingsError, match="ALERT_URLS must be addresses like") as raised:
        load_settings()
    assert "s3cret" not in str(raised.value)


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
@pytest.mark.parametrize("url", ["nonsense://s3cret", "mailto://user:s3cret@127.0.0.1:9?to=a@example.org"])
def test_failed_delivery_logs_no_secret(
    url: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    [address] = addresses(Settings(_env_file=None, alert_urls=SecretStr(url)))  # type: ignore[call-arg]
    assert not send(address, "subject", "body")
    printed = capfd.readouterr()
    assert "s3cret" not in printed.out + printed.err + caplog.text + repr(address)


def test_defect_of_apprise_is_recorded_until_every_address_accepts_messages(
    environment: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    environment.setenv("DATA_DIR", str(tmp_path))
    environment.setenv("ALERT_URLS", f"json://user:s3cret@127.0.0.1:9 {MAIL}")
    defective = ["json://"]

    def notify(client: Apprise, **_: object) -> bool:
        if any(defect in client.urls()[0] for defect in defective):
            raise KeyError(client.urls()[0])
        return True

    environment.setattr(Apprise, "notify", notify)
    now = datetime(2026, 11, 22, tzinfo=UTC)
    store = IncidentStore(tmp_path, addresses(load_settings()), send, lambda: now)
    store.queue_message("subject", "body")
    store.deliver()
    (incident,) = read_incidents(load_settings(), now).incidents
    assert incident.key == "notification-defect"
    assert "in notify" in (tmp_path / "logs" / "tracebacks.log").read_text()
    assert "s3cret" not in caplog.text + incident.summary + (tmp_path / "logs" / "tracebacks.log").read_text()

    defective.clear()
    now += timedelta(minutes=2)
    store.deliver()
    assert store.state().messages == []
    assert read_incidents(load_settings(), now).incidents == ()
