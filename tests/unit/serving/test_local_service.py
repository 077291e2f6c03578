"""`make up` starts serving on this machine only, and waits until it responds."""

from __future__ import annotations

from core.settings import Settings
from services.local_services import HOST, LocalServices, Ports, PrefectCredentials


def test_serving_is_a_local_service() -> None:
    settings = Settings(_env_file=None, serving_port=8181, serving_host="0.0.0.0")
    services = LocalServices(settings, Ports(_env_file=None), PrefectCredentials(_env_file=None))
    (serving,) = [process for process in services.processes() if process.name == "serving"]
    assert serving.command[1:] == ("-m", "serving", "--host", HOST)
    assert (serving.port, serving.setting) == (8181, "SERVING_PORT")
    assert serving.health_url == f"http://{HOST}:8181/health/live"
