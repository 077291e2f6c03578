"""The chart renderer: only changed charts are rendered, and failures are tolerated."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace

import pytest

from serving.dashboard.chart_renderer import ChartRenderer
from serving.dashboard.panel import Panel

PANEL = Panel("steps", "t", "f.", chart=("steps", {"values": [{"step": "a", "usual": 1, "last": 2}]}))
# Stands in for the chart process, with the same protocol. Its SVGs name the requested charts and the environment.
STAND_IN = """
import json, os, sys
asked = json.load(sys.stdin)
print(json.dumps({key: {"wide": f"{sorted(asked)} {sorted(os.environ)}", "narrow": ""} for key in asked}))
"""


# Longer than a busy machine needs to start a process.
PATIENT = 600.0


def renderer_with(program: str, seconds: float = PATIENT) -> ChartRenderer:
    return ChartRenderer([sys.executable, "-c", program], seconds, PATIENT)


def test_chart_process_renders_svg() -> None:
    (charts,) = asyncio.run(ChartRenderer(seconds=PATIENT, max_wait=PATIENT).render([PANEL])).values()
    assert set(charts) == {"wide", "narrow"}
    assert all(svg.startswith("<svg ") for svg in charts.values())


def test_only_changed_charts_are_rendered_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOOVITAMIX_API_TOKEN", "secret")
    second_panel, without_chart = replace(PANEL, key="other"), Panel("empty", "t", "f.")
    chart_renderer = renderer_with(STAND_IN)
    first = asyncio.run(chart_renderer.render([PANEL, second_panel, without_chart]))
    assert set(first) == {"steps", "other"}
    assert first["steps"]["wide"].startswith("['other', 'steps']")
    assert "MOOVITAMIX_API_TOKEN" not in first["steps"]["wide"]
    second = asyncio.run(chart_renderer.render([PANEL, replace(second_panel, chart=("steps", {"values": []}))]))
    assert second["steps"] == first["steps"]
    assert second["other"]["wide"].startswith("['other']")


def test_slow_rendering_does_not_block_and_its_result_is_used_later() -> None:
    async def look_twice() -> tuple[int, int]:
        chart_renderer = ChartRenderer([sys.executable, "-c", STAND_IN], max_wait=0)
        first = await chart_renderer.render([PANEL])
        while not (second := await chart_renderer.render([PANEL])):
            await asyncio.sleep(0.05)
        return len(first), len(second)

    assert asyncio.run(look_twice()) == (0, 1)


def test_missing_chart_program_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert asyncio.run(ChartRenderer(["/nowhere/to/be/found"]).render([PANEL])) == {}
    assert "charts were not rendered: No such file" in caplog.text


@pytest.mark.parametrize("program", ["raise SystemExit(3)", "import time; time.sleep(60)", "print('no JSON')"])
def test_failed_charts_are_omitted_and_logged(program: str, caplog: pytest.LogCaptureFixture) -> None:
    assert asyncio.run(renderer_with(program, seconds=1).render([PANEL])) == {}
    assert "charts were not rendered" in caplog.text
