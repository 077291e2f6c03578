"""The scopes of API keys: what a key may do at the serving API."""

from __future__ import annotations

from typing import Literal

Scope = Literal[
    "recommendations:read",
    "history:read",
    "feedback:write",
    "metrics:read",
    "dashboard:read",
    "console:read",
    "console:act",
]
