"""The page that notifications and the health page refer to."""

from __future__ import annotations

RUNBOOK = "docs/operations.md"
