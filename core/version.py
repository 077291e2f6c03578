"""The version of the code."""

from __future__ import annotations

import subprocess
from pathlib import Path

from core.settings import Settings

_ROOT = Path(__file__).parent.parent


def code_version(settings: Settings) -> str:
    """CODE_VERSION, or the checked-out commit, with `-dirty` if files differ from it. `unknown` without a checkout."""
    if settings.code_version:
        return settings.code_version
    git = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--match", "v[0-9]*"]
    try:
        return subprocess.run(git, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
