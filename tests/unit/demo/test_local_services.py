"""Free ports are those that no other program uses."""

from __future__ import annotations

import socket

import pytest

from demo import local_services
from demo.environment import DemoError
from demo.local_services import free_ports


def test_only_unused_ports_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    used, other = free_ports(2)
    monkeypatch.setattr(local_services, "_PORTS", range(used, used + 1))
    with socket.create_server(("127.0.0.1", used)), pytest.raises(DemoError, match=f"from {used} to {used} are free"):
        free_ports(1)
    assert free_ports(1) == [used] != [other]
