"""Messages print in any terminal, and no file gets the descriptor of a closed standard stream."""

from __future__ import annotations

import subprocess
import sys

_CODE = """
import subprocess, sys
from core.terminal import prepare_terminal
prepare_terminal()
file = open({file!r}, "w")
print("Montréal ✓")
child = "import sys; print(sys.stdout.isatty(), sys.stdin.read(), flush=True)"
subprocess.run([sys.executable, "-c", child], check=True, **{{"stdout": subprocess.DEVNULL}} if {quiet} else {{}})
file.write(str(file.fileno()))
"""


def _run(redirection: str, file: str, **environment: str) -> bytes:
    command = [
        "sh",
        "-c",
        f'exec "$@" {redirection}',
        "sh",
        sys.executable,
        "-c",
        _CODE.format(file=file, quiet=not redirection),
    ]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, check=True, env=environment or None
    ).stdout


def test_characters_that_the_terminal_cannot_show_are_escaped(tmp_path: object) -> None:
    for settings in ({"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "ascii:strict", "LC_ALL": "C"}):
        assert _run("", f"{tmp_path}/file", **settings) == b"Montr\\xe9al \\u2713\n"


def test_no_file_gets_the_descriptor_of_a_closed_standard_stream(tmp_path: object) -> None:
    assert _run("<&- >&- 2>&-", f"{tmp_path}/file") == b""
    with open(f"{tmp_path}/file") as file:
        assert int(file.read()) > 2
