"""The section of the health page about streaming: state, findings, tables and charts."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from core.age_histogram import AGE_BOUNDS
from serving.dashboard.altair_charts import PIXELS, render_svg
from serving.dashboard.health_status import evaluate_health
from serving.dashboard.incidents import OpenIncidents
from serving.dashboard.page import render
from serving.dashboard.page_data import StreamPeriod, StreamReport
from serving.dashboard.panel import Panel
from serving.dashboard.stream_panels import StreamSection, stream_section
from tests.unit.serving.healthy_page_data import NOW, healthy
from tests.unit.serving.test_dashboard_page import Reader, content


def report(age: float = 3, messages: int | None = 0, seconds: float = 0.0) -> StreamReport:
    return StreamReport(NOW - timedelta(seconds=age), messages, seconds)


def period(start: datetime, messages: int = 100, rejected: int = 0, step: int = 4) -> StreamPeriod:
    """Ten minutes with four plays in each message. All ages are in the bucket `step`."""
    ages = [0] * (len(AGE_BOUNDS) + 1)
    ages[step] = messages
    return StreamPeriod(start, messages, 4 * messages, rejected, 0.3, ages, ages)


def section(*reports: StreamReport, is_configured: bool = True, **data: Any) -> StreamSection | None:
    return stream_section(healthy(stream_reports=reports, **data), NOW, is_configured=is_configured)


def state(*reports: StreamReport) -> str:
    result = section(*reports)
    assert result
    return result.state


def panels(*periods: StreamPeriod) -> tuple[Panel, Panel]:
    result = section(report(), stream_periods=periods)
    assert result
    plays, latency = result.panels
    return plays, latency


def test_nothing_is_shown_when_streaming_is_off() -> None:
    assert section(is_configured=False) is None
    assert section(report(age=3_600), is_configured=False) is None
    html = render(content(healthy()))
    assert "Streaming" not in html


def test_reporting_consumer_is_shown_without_the_setting() -> None:
    assert section(report(), is_configured=False) is not None


@pytest.mark.parametrize(
    ("reports", "text"),
    [
        ([report()], "1 consumer is running. Lag: none."),
        ([report(), report()], "2 consumers are running. Lag: none."),
        ([report(), report(age=70)], "1 consumer is running. Lag: none."),
        ([report(age=70)], "1 consumer is running. Lag: none."),
        (
            [report(messages=1_200, seconds=43), report()],
            "2 consumers are running. Lag: 1,200 messages, 43 s.",
        ),
        ([report(messages=None, seconds=4)], "1 consumer is running. Lag: 4.00 s."),
        ([report(age=2_400)], "No consumer is running. The last report came 40 minutes ago."),
        ([], "No consumer is running. None reported in the last 24 hours."),
    ],
)
def test_section_describes_the_state_of_the_stream(reports: list[StreamReport], text: str) -> None:
    assert state(*reports) == text


def test_missing_consumer_needs_attention_and_says_what_to_do() -> None:
    data = healthy()
    missing = stream_section(data, NOW, is_configured=True)
    status = evaluate_health(data, OpenIncidents(), NOW, stream=missing)
    assert status.state == "attention"
    html = render(replace(content(data, stream=missing), health_status=status))
    assert html.count("No consumer of the stream is running") == 3  # the reason, its link, and the link of the section
    Reader(html)


def test_plays_and_rejected_messages_of_a_day() -> None:
    plays, _ = panels(period(NOW - timedelta(hours=2), 300, 6), period(NOW - timedelta(minutes=10), 100))
    assert plays.finding == "1,600 plays in 400 messages; 6 rejected (1.5%)."
    assert [row[:5] for row in plays.rows] == [
        ("22 Nov 11:00", "400", "100", "0", "0.0%"),
        ("22 Nov 10:00", "1,200", "300", "6", "2.0%"),
    ]
    assert plays.chart is not None
    values = plays.chart[1]["values"]
    assert len(values) == 144
    assert values[-1] == {"at": "2026-11-22T11:50:00+00:00", "plays": 40}


def test_chart_does_not_change_within_ten_minutes() -> None:
    earlier_panel, _ = panels(period(NOW - timedelta(hours=2)))
    later_panel, _ = panels(period(NOW - timedelta(hours=2)), period(NOW))
    assert earlier_panel.chart == later_panel.chart
    assert earlier_panel.finding != later_panel.finding


def test_latencies_are_quantiles() -> None:
    _, latency = panels(period(NOW - timedelta(minutes=10)))
    assert latency.finding == (
        "From play to database: median 0.15 s, p99 0.20 s. From play to recommendations: median 0.15 s, p99 0.20 s."
    )
    assert latency.rows == [("22 Nov 11:00", "0.15 s", "0.20 s", "0.15 s", "0.20 s")]
    _, slow = panels(period(NOW - timedelta(minutes=10), step=13))
    assert "median more than 60 s, p99 more than 60 s" in slow.finding


def test_quiet_day_draws_nothing() -> None:
    for panel in panels():
        assert panel.chart is None
        assert panel.finding == "No message was consumed in the last 24 hours."


def test_charts_render_without_scripts_or_addresses() -> None:
    for panel in panels(period(NOW - timedelta(hours=2)), period(NOW - timedelta(minutes=10), step=8)):
        assert panel.chart
        for width in PIXELS:
            svg = render_svg(*panel.chart, width)  # type: ignore[arg-type]
            assert "<script" not in svg
            assert re.findall(r'(?:href|src)="', svg) == []


def test_page_has_the_section_with_both_charts() -> None:
    data = healthy(stream_reports=[report()], stream_periods=[period(NOW - timedelta(minutes=10))])
    html = render(content(data, stream=stream_section(data, NOW, is_configured=True)))
    assert "Streaming, the last 24 hours" in html
    assert "Streamed plays per minute" in html
    assert "Latency of streamed plays" in html
    Reader(html)
