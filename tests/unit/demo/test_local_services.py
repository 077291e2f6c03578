"""Free ports are unused, and below those of outgoing connections."""

from __future__ import annotations

import socket

import pytest

from demo import local_services
from demo.environment import DemoError
from demo.local_services import free_ports


def test_only_unused_low_ports_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    port, higher_port = sorted(free_ports(2))
    assert higher_port < 32_768  # Linux gives outgoing connections ports from here on
    monkeypatch.setattr(local_services, "_PORTS", range(port, port + 1))
    assert free_ports(1) == [port]
    with socket.create_server(("127.0.0.1", port)), pytest.raises(DemoError, match=f"from {port} to {port} are free"):
        free_ports(1)
