"""The commands of docker-compose.yml: each program exists and accepts its options."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys

import pytest

from tests.unit.test_deployment_files import PROJECT_SERVICES, ROOT


def _programs() -> list[tuple[str, ...]]:
    commands = [service["command"] for service in PROJECT_SERVICES.values()]
    commands += [
        service["healthcheck"]["test"][1:] for service in PROJECT_SERVICES.values() if "healthcheck" in service
    ]
    commands.append(json.loads(re.findall(r"^CMD (\[.*\])$", (ROOT / "Dockerfile").read_text(), re.M)[0]))
    return sorted({_without_values(command) for command in commands})


def _without_values(command: list[str]) -> tuple[str, ...]:
    """The program with its sub-commands: `python -m module`, or the words before the first option."""
    if command[0] == "python":
        return tuple(command[:3])
    return tuple(itertools.takewhile(lambda word: not word.startswith("--"), command))


@pytest.mark.parametrize("program", _programs(), ids=" ".join)
def test_programs_of_containers_exist_and_have_the_options(program: tuple[str, ...]) -> None:
    python = (sys.executable, "-m", *program[2:]) if program[0] == "python" else (sys.executable, "-m", *program)
    result = subprocess.run([*python, "--help"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stderr
    options = {
        word
        for service in PROJECT_SERVICES.values()
        if tuple(service["command"][: len(program)]) == program
        for word in service["command"]
        if word.startswith("--")
    }
    assert {option for option in options if option not in result.stdout} <= {
        "--no-services"
    }  # shown as --services/--no-
