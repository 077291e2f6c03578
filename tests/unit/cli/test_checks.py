"""The checks of `moovitamix doctor` for ports of processes that have no URL to request."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import checks
from core.settings import Settings
from demo.local_services import free_ports
from services.local_services import LocalServices, Ports, PrefectCredentials, ServiceProcess
from services.supervision import SupervisedProcess


@pytest.fixture
def used_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def free_port() -> int:
    return free_ports(1)[0]


def check_port_of_kafka(folder: Path, monkeypatch: pytest.MonkeyPatch, port: int, state: str) -> checks.Check:
    services = LocalServices(
        Settings(_env_file=None, data_dir=folder),  # type: ignore[call-arg]
        Ports(_env_file=None),  # type: ignore[call-arg]
        PrefectCredentials(_env_file=None),  # type: ignore[call-arg]
    )
    process = ServiceProcess("kafka", ("kafka",), setting="KAFKA_PORT", port=port)
    monkeypatch.setattr(LocalServices, "processes", lambda self: [process])
    (check,) = checks.check_ports(services, [SupervisedProcess("kafka", state, 1, "")])
    return check


def test_port_on_which_a_running_process_listens_is_no_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, used_port: int
) -> None:
    check = check_port_of_kafka(tmp_path, monkeypatch, used_port, "RUNNING")
    assert (check.status, check.detail) == ("ok", "kafka listens")


def test_running_process_that_does_not_listen_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    check = check_port_of_kafka(tmp_path, monkeypatch, free_port, "RUNNING")
    assert (check.status, check.detail) == ("problem", "kafka does not listen")
    assert "kafka.log" in check.fix


def test_port_that_this_user_may_not_use_has_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_host: str, _port: int) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(checks, "refuse_port_in_use", refuse)
    check = check_port_of_kafka(tmp_path, monkeypatch, 80, "FATAL")
    assert (check.status, check.detail) == ("problem", "kafka cannot use it: Permission denied")


def test_port_of_a_stopped_process_must_be_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, used_port: int, free_port: int
) -> None:
    assert check_port_of_kafka(tmp_path, monkeypatch, free_port, "FATAL").status == "ok"
    check = check_port_of_kafka(tmp_path, monkeypatch, used_port, "FATAL")
    assert (check.status, check.detail) == ("problem", "kafka cannot use it: Address already in use")
