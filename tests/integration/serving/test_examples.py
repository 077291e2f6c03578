"""Every example of the documentation runs as printed."""

from __future__ import annotations

import os
import subprocess
import time

from tests.integration.serving.api import Api

_URL = "http://127.0.0.1:8080"


def test_every_example_runs_as_printed(world: Api) -> None:
    specification = world.get("/openapi.json").json()
    commands = [
        operation["x-codeSamples"][0]["source"]
        for path in specification["paths"].values()
        for operation in path.values()
    ]
    assert len(commands) == 14
    environment = os.environ | {"KEY": world.key}
    for command in commands:
        assert _URL in command
        until = time.monotonic() + 60
        while True:
            printed = command.replace(_URL, world.url)
            output = subprocess.run(
                ["bash", "-c", f"{printed} -s -w '\\n%{{http_code}}'"],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            status = output.rpartition("\n")[2]
            if status != "503" or time.monotonic() > until:  # the model of sessions is loading
                break
            time.sleep(0.2)
        assert status in ("200", "201"), (command, output)
