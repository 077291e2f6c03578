"""The command that writes the page: messages and exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import DatabaseError, MoovitamixError, SettingsError
from serving.dashboard import __main__ as command


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (OSError(24, "Too many open files"), 1, "error: the health page cannot be built: Too many open files"),
        (DatabaseError("no right"), 1, "error: no right"),
        (SettingsError("wrong setting"), 2, "error: wrong setting"),
    ],
)
def test_build_error_is_not_reported_as_a_write_error(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: OSError | MoovitamixError,
    code: int,
    message: str,
) -> None:
    async def build_page(_: object) -> None:
        raise error

    monkeypatch.setattr(command, "build_page", build_page)
    output = tmp_path / "health.html"
    assert command.main(["--output", str(output)]) == code
    assert capsys.readouterr().err.strip() == message
    assert not output.exists()
