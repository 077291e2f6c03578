"""Functions that scheduler and worker share: addresses, TLS, and stopping at a signal."""

from __future__ import annotations

import argparse
import asyncio
import signal
from typing import Any

from distributed import Security

from core.errors import SettingsError
from core.proxies import is_loopback, is_unspecified
from core.settings import Settings

LOOPBACK = "127.0.0.1"
# By default, each process wakes up 50 times a second to measure itself.
FEW_WAKE_UPS = {"distributed.admin.tick.interval": "500ms", "distributed.admin.system-monitor.interval": "5s"}


def add_address_options(parser: argparse.ArgumentParser, *, port: int) -> None:
    """Add --host, --port and --contact-address."""
    parser.add_argument("--host", default=LOOPBACK, help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=port, help="port; 0 chooses a free port (default: %(default)s)")
    parser.add_argument(
        "--contact-address",
        help="address for other processes, as tls://host:port; default: the address that it listens on",
    )


def refuse_open_port(settings: Settings, host: str) -> None:
    """Raises SettingsError when other machines could connect without TLS: every client can execute code."""
    if settings.dask_tls_ca_file is None and (is_unspecified(host) or not is_loopback(host)):
        raise SettingsError(
            f"--host {host} lets other machines connect without TLS, and every client can execute code; set "
            "DASK_TLS_CA_FILE, DASK_TLS_CERTIFICATE_FILE and DASK_TLS_KEY_FILE"
        )


def protocol_of(settings: Settings) -> str:
    """`tls` with certificates, otherwise `tcp`."""
    return "tls" if settings.dask_tls_ca_file else "tcp"


def security_of(settings: Settings) -> Security:
    """The TLS configuration of the settings, for scheduler, worker and client."""
    return Security(**tls_arguments(settings))


def tls_arguments(settings: Settings) -> dict[str, Any]:
    """The arguments of Dask's `Security`; empty without TLS."""
    if settings.dask_tls_ca_file is None:
        return {}
    certificate, key = str(settings.dask_tls_certificate_file), str(settings.dask_tls_key_file)
    roles = {
        f"tls_{role}_{part}": path
        for role in ("scheduler", "worker", "client")
        for part, path in (("cert", certificate), ("key", key))
    }
    return {"tls_ca_file": str(settings.dask_tls_ca_file), "require_encryption": True, **roles}


async def run_until_signal(server: Any) -> None:
    """Return when the server has ended, or at SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    tasks = [asyncio.ensure_future(stopped.wait()), asyncio.ensure_future(server.finished())]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
