"""The simulated alarm: rules and histories by worked examples, and a short run that finds what the long one finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.monitoring.command_line import _read_options
from benchmarks.monitoring.histories import (
    Bootstrapped,
    InOrder,
    NormalNoise,
    Restless,
    answers_of_listeners,
    merge_days,
)
from benchmarks.monitoring.mock_days import Days, MockWorld, judge_days, without_trend
from benchmarks.monitoring.page import Findings, write_part
from benchmarks.monitoring.plot import draw_alarms
from benchmarks.monitoring.rules import PageHinkley, alike, cusum, first_alarm, naive
from benchmarks.monitoring.simulation import Found, Histories, share_by
from benchmarks.monitoring.studies import MANY, MOCK, SOME, Studies, judge
from recommender.monitoring.drift import CusumSettings, SelfStartingCusum
from recommender.monitoring.quality_monitor import MonitoringSettings

SMALL = MockWorld(users=600, tracks=400, sessions_a_day=120, days_to_learn=20, days=21)
PAGE = "# Title\n\nBefore.\n\n<!-- simulation: begin -->\nof before\n<!-- simulation: end -->\n\nAfter.\n"


@pytest.fixture(scope="module")
def raw() -> Days:
    return judge_days(SMALL, lambda text: None)


@pytest.fixture(scope="module")
def studies(raw: Days) -> Studies:
    return Studies(raw, 200, lambda text: None)


def column(*values: float) -> np.ndarray:
    return np.array(values, np.float64)[:, None]


def test_page_hinkley_by_hand() -> None:
    # Means so far 1, 1, 1, 3/4, 3/5; the sum of value - mean + 1/10 is 0.1, 0.2, 0.3, -0.35, -0.85; its highest 0.3.
    rule = PageHinkley(delta=0.1, threshold=0.7, least=3, fading=1.0)
    assert rule.statistic(column(1, 1, 1, 0, 0))[:, 0] == pytest.approx([0, 0, 0, 0.65, 1.15])
    assert rule(column(1, 1, 1, 0, 0))[:, 0].tolist() == [False, False, False, False, True]


def test_page_hinkley_fades_waits_and_does_not_mind_better() -> None:
    # The sum fades by half before each step: 0.1, 0.15, then 0.075 - 2/3 + 0.1.
    assert PageHinkley(0.1, 1, 1, 0.5).statistic(column(1, 1, 0))[2, 0] == pytest.approx(0.15 - (0.175 - 2 / 3))
    assert PageHinkley(0.1, 1, 4, 0.5).statistic(column(1, 1, 0))[2, 0] == 0
    assert not PageHinkley(0.0, 1e-9, 1).statistic(column(1, 2, 3, 4)).any()


def test_page_hinkley_judges_each_history_as_if_alone() -> None:
    values = np.random.default_rng(1).normal(0.2, 0.05, (50, 3))
    together = PageHinkley(0.01, 0.1, 5).statistic(values)
    alone = [PageHinkley(0.01, 0.1, 5).statistic(values[:, [history]])[:, 0] for history in range(3)]
    assert together == pytest.approx(np.stack(alone, axis=1))


def test_the_naive_rule_is_the_interval_of_the_values_before() -> None:
    values = np.random.default_rng(2).normal(0.2, 0.03, (60, 1))
    expected = [
        number >= 14 and values[number, 0] < values[:number, 0].mean() - 1.959964 * values[:number, 0].std(ddof=1)
        for number in range(60)
    ]
    assert naive(values, 14)[:, 0].tolist() == expected
    assert any(expected)


def test_our_rule_is_the_one_of_production() -> None:
    values = np.random.default_rng(3).normal(0.2, 0.03, (80, 4))
    values[40:] *= 0.7
    listeners = np.arange(200, 280)
    watch = SelfStartingCusum(CusumSettings(), 4)
    expected = [watch.add(row, count).alarm for row, count in zip(values, listeners, strict=True)]
    assert (cusum(values, listeners, CusumSettings()) == expected).all()
    assert (alike(judge)(values, listeners) == judge(values, np.ones(80, np.int64))).all()


def test_first_alarms_and_delays() -> None:
    alarms = np.array([[0, 0, 1], [0, 1, 0], [0, 1, 0]], bool)
    days = first_alarm(alarms, np.array([4, 8, 12]))
    assert days.tolist() == [np.inf, 8, 4]
    found = Found.of(days, 7)
    assert found.too_early == pytest.approx(1 / 3)
    assert sorted(found.delays) == [2, np.inf], "the 7th and the 8th are days with the drop"
    assert found.share == 0.5
    assert (found.within(0.5), found.within(0.9)) == (2, np.inf)
    assert share_by(days, 4) == pytest.approx(1 / 3)


def test_days_are_merged_until_there_are_enough_listeners() -> None:
    merged, listeners, ends = merge_days(np.arange(9, dtype=np.float64)[:, None], listeners=60, at_least=200)
    assert merged[:, 0].tolist() == [1.5, 5.5], "four days each; the ninth is too few"
    assert (listeners.tolist(), ends.tolist()) == ([240, 240], [4, 8])
    merged, listeners, ends = merge_days(column(1, 2), listeners=200, at_least=200)
    assert (merged[:, 0].tolist(), listeners.tolist(), ends.tolist()) == ([1, 2], [200, 200], [1, 2])


def test_days_are_merged_by_their_own_listeners() -> None:
    came = np.array([50, 150, 1_000, 199])
    merged, listeners, ends = merge_days(column(0.1, 0.4, 0.2, 0.3), came, at_least=200)
    assert merged[:, 0] == pytest.approx([0.325, 0.2])
    assert (listeners.tolist(), ends.tolist()) == ([200, 1_000], [2, 3])


@pytest.mark.parametrize("source", [NormalNoise(1.0), Bootstrapped([np.array([0.0, 2.0])] * 3, block=1)])
def test_days_of_more_listeners_vary_less(source: NormalNoise | Bootstrapped) -> None:
    drawn = source.draw(np.ones(4), np.array([100, 25, 400, 100]), 20_000, 12)
    assert drawn.mean(axis=1) == pytest.approx(np.ones(4), abs=0.01)
    assert drawn.std(axis=1) == pytest.approx([0.1, 0.2, 0.05, 0.1], rel=0.03)


def test_restless_days_differ_by_more_than_chance() -> None:
    drawn = Restless(NormalNoise(0.3), 0.04).draw(np.ones(3), 100, 20_000, 13)
    assert drawn.mean(axis=1) == pytest.approx(np.ones(3), abs=0.01)
    assert drawn.std(axis=1) == pytest.approx(np.full(3, 0.05), rel=0.03)
    assert (
        Restless(NormalNoise(0.3), 0.0).draw(np.ones(3), 100, 9, 13) == NormalNoise(0.3).draw(np.ones(3), 100, 9, 13)
    ).all()


def test_blocks_keep_days_together_that_followed_each_other() -> None:
    chosen = Bootstrapped([np.zeros(1)] * 20, block=7).choose(30, 500, np.random.default_rng(4))
    assert chosen.shape == (30, 500)
    steps = np.diff(chosen, axis=0)
    inside = [day for day in range(29) if day % 7 != 6]
    assert (steps[inside] == 1).all()
    assert sorted(np.unique(chosen[0])) == list(range(14)), "a block begins where it still fits"
    assert chosen.max() == 19


def test_each_history_holds_values_of_the_days_it_is_made_of() -> None:
    days = [np.full(5, float(number)) for number in range(1, 11)]
    source = Bootstrapped(days, block=3)
    means = source.draw(np.ones(12), 4, 50, 5)
    assert (means == source.choose(12, 50, np.random.default_rng(5)) + 1).all()
    assert (means == source.draw(np.ones(12), 4, 50, 5)).all()
    assert (InOrder(days).draw(np.ones(10), 4, 2, 5) == np.arange(1, 11)[:, None]).all()


def test_a_drop_makes_values_zero_from_its_day_on() -> None:
    source = Bootstrapped([np.ones(3)], block=1)
    kept = np.array([1.0, 1.0, 0.8, 0.0])
    means = source.draw(kept, 50, 4_000, 6)
    assert (means[:2] == 1).all()
    assert means[2].mean() == pytest.approx(0.8, abs=0.01)
    assert means[2].std() == pytest.approx(np.sqrt(0.8 * 0.2 / 50), rel=0.05)
    assert (means[3] == 0).all()


def test_normal_noise_is_as_wide_as_listeners_make_it_also_after_a_drop() -> None:
    values = np.random.default_rng(7).exponential(1, 2_000)
    values /= values.mean()
    kept = np.array([1.0, 0.7])
    drawn = Bootstrapped([values], block=1).draw(kept, 100, 20_000, 8)
    made = NormalNoise(float(values.std())).draw(kept, 100, 20_000, 8)
    assert made.mean(axis=1) == pytest.approx(drawn.mean(axis=1), rel=0.01)
    assert made.std(axis=1) == pytest.approx(drawn.std(axis=1), rel=0.03)


def test_noise_that_hangs_together_and_weekends() -> None:
    made = NormalNoise(1.0, autocorrelation=0.2).draw(np.ones(40), 100, 5_000, 9) - 1
    assert (made[1:] * made[:-1]).mean() / (made**2).mean() == pytest.approx(0.2, abs=0.01)
    assert made.std(axis=1) == pytest.approx(np.full(40, 0.1), rel=0.05)
    levels = NormalNoise(0.0, weekend=0.05).draw(np.ones(8), 100, 1, 9)[:, 0]
    assert levels == pytest.approx([1, 1, 1, 1, 1, 0.95, 0.95, 1])


def test_answers_are_shares_of_few_answers() -> None:
    answers = answers_of_listeners()
    assert answers.mean() == pytest.approx(0.7, abs=0.01)
    assert set(np.unique(answers)) <= {useful / given for given in range(1, 6) for useful in range(given + 1)}


def test_without_its_trend_a_day_keeps_its_zeros_and_all_days_their_level() -> None:
    random = np.random.default_rng(10)
    days = [random.binomial(1, 0.5, 20_000) * (1 - 0.01 * number) for number in range(30)]
    flat = without_trend(days)
    means = [values.mean() for values in flat]
    assert np.polyfit(range(30), means, 1)[0] == pytest.approx(0, abs=1e-5)
    assert np.mean(means) == pytest.approx(np.mean([values.mean() for values in days]), rel=1e-3)
    assert [(values == 0).sum() for values in flat] == [(values == 0).sum() for values in days]


def test_the_mocks_days_are_judged_by_what_listeners_first_played(raw: Days) -> None:
    assert len(raw) == SMALL.days
    assert all(50 < len(values) < 120 for values in raw), "about as many listeners as sessions, and not all play news"
    everything = np.concatenate(raw)
    assert everything.min() == 0
    assert everything.max() <= 1
    assert 0.02 < everything.mean() < 0.6, "lists say something, and nothing leaks into them"


def test_a_short_run_finds_what_the_long_one_finds(studies: Studies) -> None:
    for listeners, limit in ((SOME, 7), (MANY, 4)):
        group = studies.groups[MOCK, listeners]
        ours, theirs = (group.false_alarms(rule) for rule in (judge, studies.rules(listeners)["naive daily rule"]))
        assert share_by(ours, 90) < 0.15
        assert share_by(theirs, 90) > 0.5
        found = group.find(judge, 0.2, 60)
        assert found.share > 0.95
        assert found.within() <= limit
    assert group.find(judge, 0.3, 60).within() <= found.within() <= group.find(judge, 0.1, 60).within()


def test_both_measures_are_watched_by_the_rules_of_production(studies: Studies) -> None:
    found = {
        figure.name: figure for figure in studies.figures() if "measures" in figure.name or "useful" in figure.name
    }
    wrong, share, delay = found.values()
    first, *others = studies.both_metrics().rows
    assert first[1] == f"{MonitoringSettings().plays.h:g} and {MonitoringSettings().useful.h:g}"
    assert first[2] == f"{wrong.number:.1f} %"
    assert wrong.number < 15
    assert wrong.number <= float(others[0][2].split()[0]), "with h 5 for both there are more"
    assert share.number > 95
    assert delay.number <= 7


def test_what_hangs_together_raises_more_false_alarms_and_a_higher_h_fewer() -> None:
    alone, together = (Histories(NormalNoise(1.2, share), 200, 1_000, 11) for share in (0.0, 0.2))
    shares = [share_by(group.false_alarms(judge), 90) for group in (alone, together)]
    assert shares[1] > 1.5 * shares[0]
    assert share_by(together.false_alarms(lambda *given: cusum(*given, CusumSettings(h=8))), 90) < shares[0]


def test_a_number_of_listeners_that_changes_is_no_alarm(studies: Studies) -> None:
    found = {
        (kind, listeners): tuple(float(share.split()[0]) for share in shares)
        for kind, listeners, *shares in studies.changing().rows
    }
    normal = {listeners: shares for (kind, listeners), shares in found.items() if kind == "normal noise"}
    assert len(normal) == 5
    assert all(higher <= ours < 15 for ours, higher, _ in normal.values())
    always, _, fewer, falling, growing = normal.values()
    assert always[0] == always[2]
    assert min(fewer[2], falling[2]) > 25
    assert growing[2] <= growing[0]


def test_the_page_has_every_figure_between_its_marks_and_the_plot_is_drawn(studies: Studies, tmp_path: Path) -> None:
    findings = Findings(SMALL, studies.count, studies.figures(), studies.tables())
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    write_part(findings, page)
    text = page.read_text()
    assert text.startswith("# Title\n\nBefore.\n")
    assert text.endswith("<!-- simulation: end -->\n\nAfter.\n")
    assert "of before" not in text
    assert "--histories 200 --write" in text
    for figure in findings.figures:
        assert f"| {figure.name} | {figure.target_shown} | {figure.shown} |" in text
    for table in findings.tables:
        assert f"### {table.title}" in text
        assert all(len(row) == len(table.header) for row in table.rows)
    write_part(findings, page)
    assert page.read_text() == text
    draw_alarms(studies.curves(), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_days_give_the_same_figures(raw: Days, studies: Studies) -> None:
    again = Studies(raw, studies.count, lambda text: None)
    assert again.quiet() == studies.quiet()


def test_a_page_without_marks_is_refused_before_anything_is_simulated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "drift-simulation.md").write_text("# Title\n")
    with pytest.raises(SystemExit):
        _read_options(["--write", str(tmp_path)])
    assert "simulation: begin" in capsys.readouterr().err
