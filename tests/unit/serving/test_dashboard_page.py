"""The page: texts, tables, colours, links and security."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest

from core.settings import Settings
from serving.dashboard.all_panels import make_panels
from serving.dashboard.altair_charts import PIXELS, render_svg
from serving.dashboard.health_status import evaluate_health, health_without_database
from serving.dashboard.incidents import OpenIncident, OpenIncidents
from serving.dashboard.links import Links
from serving.dashboard.page import HealthPage, content_security_policy, render
from serving.dashboard.page_data import LivePublication, PageData, QualityMetric, last_days
from tests.conftest import ROOT
from tests.unit.serving.healthy_page_data import NIGHT, NOW, TODAY, YESTERDAY, alarm, endpoint, healthy

CSS = (ROOT / "serving/dashboard/templates/page.css").read_text()
HARM = "<script>alert(1)</script><b>'\"&"


def content(data: PageData, links: Links | None = None, **fields: Any) -> HealthPage:
    incidents = fields.pop("incidents", OpenIncidents())
    health_status = evaluate_health(data, incidents, NOW)
    values = {"incidents": incidents, "links": links or Links(), "data": data, "panels": make_panels(data)} | fields
    return HealthPage(NOW, health_status, **values)


class Reader(HTMLParser):
    """Collects tags, and checks that every element is closed."""

    _void = frozenset({"meta", "link", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self._void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def attributes_of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_title_and_heading_state_the_health_status() -> None:
    html = render(content(healthy()))
    title, heading = re.findall(r"<title>(.*?)</title>", html), re.findall(r"<h1.*?>(.*?)</h1>", html)
    assert title == ["Healthy: MoovitaMix health"]
    assert heading == ['<span class="sign" aria-hidden="true">\u2713</span>Healthy']
    broken = render(content(healthy(endpoints=[endpoint("tracks", YESTERDAY - timedelta(days=9))])))
    assert "Broken: MoovitaMix health" in broken


def test_free_text_is_escaped() -> None:
    bad = replace(endpoint("tracks", status="failed"), reason=HARM, batch_id=f"tracks{HARM}")
    incidents = OpenIncidents(
        [OpenIncident(key="k", summary=HARM, since=NOW, unaffected=HARM, next_step=HARM, severity="critical")]
    )
    publication = LivePublication(1, 1, NIGHT, HARM, HARM, 1, 9, 9, 9)
    html = render(
        content(healthy(endpoints=[bad], live_publications=[publication]), Links("http://docs"), incidents=incidents)
    )
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    Reader(html)


def test_only_http_urls_become_links() -> None:
    settings = Settings(
        _env_file=None, data_docs_web_url="javascript:alert(1)", prefect_ui_url="http://ui/", runbook_url=""
    )
    links = Links.from_settings(settings)
    assert links == Links(None, "http://ui", None)
    assert links.batch("tracks-1") is None
    bad = replace(healthy(), endpoints=[endpoint("tracks", status="blocked")])
    hrefs = [
        a["href"] for a in Reader(render(content(bad, Links("http://docs", None, "http://book")))).attributes_of("a")
    ]
    assert f"http://docs/validations/tracks-{TODAY}.html" in hrefs
    assert "http://book#a-batch-is-blocked" in hrefs


def test_incident_links_to_its_runbook_section() -> None:
    incident = OpenIncident(key="k", summary="w", since=NOW, next_step="<make>; docs/operations.md#the-disk-is-full")
    shown = render(content(healthy(), Links(None, None, "http://book"), incidents=OpenIncidents([incident])))
    assert '&lt;make&gt;; <a href="http://book#the-disk-is-full">docs/operations.md#the-disk-is-full</a>' in shown
    assert "&lt;make&gt;; docs/operations.md#the-disk-is-full" in render(
        content(healthy(), incidents=OpenIncidents([incident]))
    )


def test_every_chart_has_a_title_a_finding_and_a_table() -> None:
    data = healthy()
    panels = make_panels(data)
    charts = {panel.key: dict.fromkeys(PIXELS, "<svg ></svg>") for panel in panels if panel.chart}
    html = render(content(data, charts=charts))
    parsed = Reader(html)
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert len(parsed.attributes_of("figure")) == len(panels)
    for figure in parsed.attributes_of("figure"):
        assert {figure["aria-labelledby"], figure["aria-describedby"]} <= set(ids)
    for picture in parsed.attributes_of("svg"):
        assert picture["role"] == "img"
        assert picture["aria-labelledby"] in ids
    for panel in panels:
        assert panel.finding.endswith(".")
        assert all(len(row) == len(panel.head) for row in panel.rows)
        assert bool(panel.rows) >= bool(panel.chart)
    assert all(
        scroll.get("tabindex") == "0" for scroll in parsed.attributes_of("div") if scroll.get("class") == "scroll"
    )


def test_tables_are_open_without_charts() -> None:
    panels = [panel for panel in make_panels(healthy()) if panel.chart]
    html = render(content(healthy()))
    assert html.count("The chart is not ready yet") == html.count("<details open>") == len(panels)


def test_tables_contain_the_values_of_charts() -> None:
    bad = replace(healthy().batches[0], status="blocked", rows_rejected=7, rows_conflicting=3)
    live = [LivePublication(2, 2, NIGHT, "trained", "ease", 2, 9, 9, 9)]
    values = [QualityMetric("ndcg@20", YESTERDAY, 0.08, 250, 0.05, 0.1, 1, False)]
    spoilt = healthy(batches=[bad], alarms=[alarm("kept")], quality=values, live_publications=live)
    panels = {panel.key: panel for panel in make_panels(spoilt)}
    assert panels["rows"].rows[0] == (str(TODAY), "1,000 (blocked)", "-", "-")
    assert "the newest tracks-2026-11-22" in panels["rows"].finding
    assert panels["rejected"].rows[0] == (str(TODAY), "7", "-", "-", "-", "3")
    assert panels["ndcg"].rows == [(str(YESTERDAY), "0.0800", "0.0500", "0.1000", "250", "1", "alarm, not evaluated")]
    assert "a training kept the model" in panels["ndcg"].finding
    assert panels["coverage"].finding.startswith("9.0% of 100 users have recommendations of their own")
    assert panels["runs"].rows[1] == ("ingest 1, 2026-11-22 03:00", "2.5", "1.2", "400")
    assert panels["steps"].rows[0] == ("ingest: audit", "2.50", "2.50", "2.50", "1")


def test_panels_explain_missing_charts_before_the_first_ingest() -> None:
    empty = PageData(last_days(NOW), "ndcg@20")
    panels = make_panels(empty)
    assert all("othing to draw" in panel.finding and panel.chart is None for panel in panels)
    Reader(render(content(empty)))


def test_rollbacks_and_new_models_are_marked() -> None:
    days = [NIGHT - timedelta(days=days_ago) for days_ago in (3, 2, 1, 0)]
    publication = [(1, 1, 1), (2, 2, 1), (3, 3, 2), (4, 1, 1)]  # refreshed, a new model, a rollback
    live = [
        LivePublication(live_id, publication, moment, "", "als", run, 9, 9, 9)
        for (live_id, publication, run), moment in zip(publication, days, strict=True)
    ]
    (panel,) = [panel for panel in make_panels(healthy(live_publications=live[::-1])) if panel.key == "ndcg"]
    assert panel.chart
    assert panel.chart[1]["marks"] == [
        {"day": str(days[3].date()), "what": "rollback"},
        {"day": str(days[2].date()), "what": "new model"},
    ]


def test_page_without_database_states_since_when_and_what_to_do() -> None:
    incidents = OpenIncidents(
        [OpenIncident(key="database", summary="the database does not answer", since=NIGHT, severity="critical")]
    )
    page = HealthPage(
        NOW,
        health_without_database(incidents, statement_refused=False),
        incidents,
        Links(),
        unavailable_since=NIGHT,
        database_error="no connection",
    )
    html = render(page)
    assert "Since 2026-11-22 03:00 UTC, 9 hours ago." in html
    assert "make status" in html
    untrusted_page = replace(
        page,
        incidents=OpenIncidents(),
        health_status=health_without_database(OpenIncidents(), statement_refused=False),
        trusted=False,
    )
    assert "Your API key cannot be verified" in render(untrusted_page)


def test_content_security_policy_allows_only_the_embedded_style() -> None:
    html, policy = render(content(healthy())), content_security_policy()
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert f'content="{policy}"'.replace("'", "&#39;") in html
    assert "style=" not in html
    assert not re.search(r"url\(|@import|<link|<img|<script", html)


@pytest.mark.parametrize("width", PIXELS)
def test_charts_fit_their_width_and_use_only_colours_of_the_page(width: Any) -> None:
    spoilt = healthy(
        batches=[replace(healthy().batches[0], status="blocked", rows_rejected=7)],
        alarms=[alarm()],
        expectations_by_day=[replace(healthy().expectations_by_day[0], critical=2, warning=1)],
        quality=[*healthy().quality, QualityMetric("without_list", YESTERDAY, 0.1, 9, 0.0, 0.2, 1, True)],
    )
    drawn = {panel.key: render_svg(*panel.chart, width) for panel in make_panels(spoilt) if panel.chart}
    assert set(drawn) == {"rows", "rejected", "expectations", "steps", "runs", "ndcg", "coverage"}
    for svg in drawn.values():
        match = re.search(r'viewBox="0 0 (\d+) ', svg)
        assert match
        assert abs(int(match[1]) - PIXELS[width]) <= 16
        assert set(re.findall(r"(?:fill|stroke)=\"(.*?)\"", svg)) <= {
            *(f"var(--{name})" for name in ("ink", "soft", "line", "accent", "bad", "warn")),
            "none",
            "transparent",
        }
        assert not re.search(r"style=|<style|<script|<a |href=|id=\"", svg.replace("xmlns:xlink", ""))


def test_colours_have_enough_contrast() -> None:
    """WCAG AA: 4.5 to 1 for text, in light and in dark."""
    light, dark = (dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", CSS, re.S))
    for colours in (light, dark):
        assert set(colours) == {"paper", "ink", "soft", "line", "band", "accent", "good", "warn", "bad"}
        for text in ("ink", "soft", "accent", "good", "warn", "bad"):
            for behind in ("paper", "band"):
                assert contrast(colours[text], colours[behind]) >= 4.5, (text, behind)


def contrast(first: str, second: str) -> float:
    brighter, darker = sorted((luminance(first), luminance(second)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    channels = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
