"""The versions of the project's code and of the numerical libraries, which must be the same in a whole cluster.

Other versions may give results with other bits.
"""

from __future__ import annotations

import platform
from importlib.metadata import version

from core.settings import Settings
from core.version import code_version

_LIBRARIES = ("distributed", "implicit", "numpy", "scipy")


def software_version(settings: Settings) -> str:
    """The versions as text.

    For example: "code 1f3a9c0b12de, Python 3.11.7, distributed 2026.8.0, implicit 0.7.3, numpy 2.4.1, scipy 1.17.0".
    """
    libraries = (f"{library} {version(library)}" for library in _LIBRARIES)
    return ", ".join((f"code {code_version(settings)}", f"Python {platform.python_version()}", *libraries))
