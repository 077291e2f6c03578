"""Which exceptions `named_errors` converts."""

from __future__ import annotations

import errno
import socket

import pytest
import requests

from core.errors import DatabaseUnavailable, DiskFull, LandingError, UnexpectedError, named_errors


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (
            FileNotFoundError(errno.ENOENT, "No such file", "pages/1"),
            LandingError,
            r"working files .*: No such file \(pages/1\)",
        ),
        (OSError(errno.ENOSPC, "No space left"), DiskFull, "working files .*: No space left"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), UnexpectedError, "unexpected ConnectionResetError"),
        (TimeoutError("slow"), UnexpectedError, "unexpected TimeoutError"),
        (ValueError("Marie"), UnexpectedError, "unexpected ValueError at .*; please report it"),
        (DatabaseUnavailable("away"), DatabaseUnavailable, "away"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), UnexpectedError, "unexpected BrokenPipeError"),
        (socket.gaierror(socket.EAI_NONAME, "unknown host"), UnexpectedError, "unexpected gaierror"),
        (requests.exceptions.ReadTimeout("slow"), UnexpectedError, "unexpected ReadTimeout"),
        (
            TimeoutError(errno.ETIMEDOUT, "timed out", "pages/1"),
            LandingError,
            r"working files .*: timed out \(pages/1\)",
        ),
    ],
)
def test_errors_of_files_networks_and_defects_differ(error: Exception, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as raised, named_errors():
        raise error
    assert type(raised.value) is kind
    assert "Marie" not in str(raised.value)
