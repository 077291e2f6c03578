"""The simulation of the drift detector: rules and histories by worked examples, and a short run of its studies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.monitoring.command_line import TABLES_LEFT_OUT, read_options, write_simulation
from benchmarks.monitoring.detection import (
    Detection,
    Histories,
    NormalNoise,
    PageHinkley,
    ResampledDays,
    cusum,
    first_alarm,
    ignoring_users,
    merge_days,
    naive_rule,
    share_within,
    simulate_answers,
)
from benchmarks.monitoring.mock_days import Days, MockPopulation, remove_trend
from benchmarks.monitoring.studies import MANY_USERS, MOCK, NAIVE, NORMAL, SOME_USERS, Studies, detector
from recommender.monitoring.drift import CusumSettings, SelfStartingCusum
from recommender.monitoring.quality_monitor import MonitoringSettings

PAGE = "# Title\n\nBefore.\n\n<!-- simulation: begin -->\nof before\n<!-- simulation: end -->\n\nAfter.\n"


@pytest.fixture(scope="module")
def days() -> Days:
    """Eight weeks of values as the mock's users have them: two in five are zero, and the level falls."""
    rng = np.random.default_rng(0)
    return [rng.binomial(1, 0.57, 300) * rng.beta(1.1, 3, 300) * (1 - 0.004 * number) for number in range(56)]


@pytest.fixture(scope="module")
def studies(days: Days) -> Studies:
    return Studies(days, 100, lambda text: None)


def column(*values: float) -> np.ndarray:
    return np.array(values, np.float64)[:, None]


def test_page_hinkley_by_hand() -> None:
    # Means so far 1, 1, 1, 3/4, 3/5; the sum of value - mean + 1/10 is 0.1, 0.2, 0.3, -0.35, -0.85; its highest 0.3.
    rule = PageHinkley(delta=0.1, threshold=0.7, min_values=3, fading=1.0)
    assert rule.statistic(column(1, 1, 1, 0, 0))[:, 0] == pytest.approx([0, 0, 0, 0.65, 1.15])
    assert rule(column(1, 1, 1, 0, 0))[:, 0].tolist() == [False, False, False, False, True]


def test_page_hinkley_fades_waits_and_ignores_a_rise() -> None:
    # The sum fades by half before each step: 0.1, 0.15, then 0.075 - 2/3 + 0.1.
    assert PageHinkley(0.1, 1, 1, 0.5).statistic(column(1, 1, 0))[2, 0] == pytest.approx(0.15 - (0.175 - 2 / 3))
    assert PageHinkley(0.1, 1, 4, 0.5).statistic(column(1, 1, 0))[2, 0] == 0
    assert not PageHinkley(0.0, 1e-9, 1).statistic(column(1, 2, 3, 4)).any()


def test_page_hinkley_treats_histories_independently() -> None:
    values = np.random.default_rng(1).normal(0.2, 0.05, (50, 3))
    together = PageHinkley(0.01, 0.1, 5).statistic(values)
    single_statistics = [PageHinkley(0.01, 0.1, 5).statistic(values[:, [history]])[:, 0] for history in range(3)]
    assert together == pytest.approx(np.stack(single_statistics, axis=1))


def test_naive_rule_is_the_interval_of_the_values_before() -> None:
    values = np.random.default_rng(2).normal(0.2, 0.03, (60, 1))
    expected = [
        number >= 14 and values[number, 0] < values[:number, 0].mean() - 1.959964 * values[:number, 0].std(ddof=1)
        for number in range(60)
    ]
    assert naive_rule(values, 14)[:, 0].tolist() == expected
    assert any(expected)


def test_cusum_is_the_detector_of_production() -> None:
    values = np.random.default_rng(3).normal(0.2, 0.03, (80, 4))
    values[40:] *= 0.7
    users = np.arange(200, 280)
    monitored = SelfStartingCusum(CusumSettings(), 4)
    expected = [monitored.add(row, count).alarm for row, count in zip(values, users, strict=True)]
    assert (cusum(values, users, CusumSettings()) == expected).all()
    assert (ignoring_users(detector)(values, users) == detector(values, np.ones(80, np.int64))).all()


def test_first_alarms_and_delays() -> None:
    alarms = np.array([[0, 0, 1], [0, 1, 0], [0, 1, 0]], bool)
    days = first_alarm(alarms, np.array([4, 8, 12]))
    assert days.tolist() == [np.inf, 8, 4]
    detection = Detection.from_alarms(days, 7)
    assert detection.too_early == pytest.approx(1 / 3)
    assert sorted(detection.delays) == [2, np.inf], "the 7th and the 8th are days with the drop"
    assert detection.share == 0.5
    assert (detection.within(0.5), detection.within(0.9)) == (2, np.inf)
    assert share_within(days, 4) == pytest.approx(1 / 3)


def test_days_are_merged_until_they_have_enough_users() -> None:
    merged, users, ends = merge_days(np.arange(9, dtype=np.float64)[:, None], users=60, at_least=200)
    assert merged[:, 0].tolist() == [1.5, 5.5], "four days each; the ninth is too few"
    assert (users.tolist(), ends.tolist()) == ([240, 240], [4, 8])
    merged, users, ends = merge_days(column(1, 2), users=200, at_least=200)
    assert (merged[:, 0].tolist(), users.tolist(), ends.tolist()) == ([1, 2], [200, 200], [1, 2])


def test_merged_days_are_weighted_by_their_users() -> None:
    users_of_days = np.array([50, 150, 1_000, 199])
    merged, users, ends = merge_days(column(0.1, 0.4, 0.2, 0.3), users_of_days, at_least=200)
    assert merged[:, 0] == pytest.approx([0.325, 0.2])
    assert (users.tolist(), ends.tolist()) == ([200, 1_000], [2, 3])


@pytest.mark.parametrize("source", [NormalNoise(1.0), ResampledDays([np.array([0.0, 2.0])] * 3, block=1)])
def test_days_of_more_users_vary_less(source: NormalNoise | ResampledDays) -> None:
    drawn = source.draw(np.ones(4), np.array([100, 25, 400, 100]), 20_000, 12)
    assert drawn.mean(axis=1) == pytest.approx(np.ones(4), abs=0.01)
    assert drawn.std(axis=1) == pytest.approx([0.1, 0.2, 0.05, 0.1], rel=0.03)


def test_overdispersed_days_differ_by_more_than_chance() -> None:
    drawn = NormalNoise(0.3, day_spread=0.04).draw(np.ones(3), 100, 20_000, 13)
    assert drawn.mean(axis=1) == pytest.approx(np.ones(3), abs=0.01)
    assert drawn.std(axis=1) == pytest.approx(np.full(3, 0.05), rel=0.03)
    assert (
        NormalNoise(0.3, day_spread=0.0).draw(np.ones(3), 100, 9, 13) == NormalNoise(0.3).draw(np.ones(3), 100, 9, 13)
    ).all()


def test_blocks_keep_consecutive_days_together() -> None:
    chosen = ResampledDays([np.zeros(1)] * 20, block=7).choose(30, 500, np.random.default_rng(4))
    assert chosen.shape == (30, 500)
    steps = np.diff(chosen, axis=0)
    inside = [day for day in range(29) if day % 7 != 6]
    assert (steps[inside] == 1).all()
    assert sorted(np.unique(chosen[0])) == list(range(14)), "a block begins where it still fits"
    assert chosen.max() == 19


def test_each_history_has_values_of_its_days() -> None:
    days = [np.full(5, float(number)) for number in range(1, 11)]
    source = ResampledDays(days, block=3)
    means = source.draw(np.ones(12), 4, 50, 5)
    assert (means == source.choose(12, 50, np.random.default_rng(5)) + 1).all()
    assert (means == source.draw(np.ones(12), 4, 50, 5)).all()
    assert (ResampledDays(days, block=10).draw(np.ones(10), 4, 2, 5) == np.arange(1, 11)[:, None]).all()


def test_a_drop_makes_values_zero_from_its_day_on() -> None:
    source = ResampledDays([np.ones(3)], block=1)
    survival = np.array([1.0, 1.0, 0.8, 0.0])
    means = source.draw(survival, 50, 4_000, 6)
    assert (means[:2] == 1).all()
    assert means[2].mean() == pytest.approx(0.8, abs=0.01)
    assert means[2].std() == pytest.approx(np.sqrt(0.8 * 0.2 / 50), rel=0.05)
    assert (means[3] == 0).all()


def test_normal_noise_has_the_spread_of_users_also_after_a_drop() -> None:
    values = np.random.default_rng(7).exponential(1, 2_000)
    values /= values.mean()
    survival = np.array([1.0, 0.7])
    drawn = ResampledDays([values], block=1).draw(survival, 100, 20_000, 8)
    noise = NormalNoise(float(values.std())).draw(survival, 100, 20_000, 8)
    assert noise.mean(axis=1) == pytest.approx(drawn.mean(axis=1), rel=0.01)
    assert noise.std(axis=1) == pytest.approx(drawn.std(axis=1), rel=0.03)


def test_autocorrelated_noise_and_weekends() -> None:
    noise = NormalNoise(1.0, autocorrelation=0.2).draw(np.ones(40), 100, 5_000, 9) - 1
    assert (noise[1:] * noise[:-1]).mean() / (noise**2).mean() == pytest.approx(0.2, abs=0.01)
    assert noise.std(axis=1) == pytest.approx(np.full(40, 0.1), rel=0.05)
    levels = NormalNoise(0.0, weekend=0.05).draw(np.ones(8), 100, 1, 9)[:, 0]
    assert levels == pytest.approx([1, 1, 1, 1, 1, 0.95, 0.95, 1])


def test_simulated_answers_are_shares_of_few_answers() -> None:
    answers = simulate_answers()
    assert answers.mean() == pytest.approx(0.7, abs=0.01)
    assert set(np.unique(answers)) <= {useful / answered for answered in range(1, 6) for useful in range(answered + 1)}


def test_removing_the_trend_keeps_zeros_and_the_overall_level() -> None:
    random = np.random.default_rng(10)
    days = [random.binomial(1, 0.5, 20_000) * (1 - 0.01 * number) for number in range(30)]
    flat = remove_trend(days)
    means = [values.mean() for values in flat]
    assert np.polyfit(range(30), means, 1)[0] == pytest.approx(0, abs=1e-5)
    assert np.mean(means) == pytest.approx(np.mean([values.mean() for values in days]), rel=1e-3)
    assert [(values == 0).sum() for values in flat] == [(values == 0).sum() for values in days]


def test_short_run_detects_the_same_faults_as_the_long_run(studies: Studies) -> None:
    for users, limit in ((SOME_USERS, 7), (MANY_USERS, 4)):
        group = studies.groups[MOCK, users]
        alarms, naive_alarms = (group.false_alarms(rule) for rule in (detector, studies.rules(users)[NAIVE]))
        assert share_within(alarms, 90) < 0.15
        assert share_within(naive_alarms, 90) > 0.5
        detection = group.detect(detector, 0.2, 60)
        assert detection.share > 0.95
        assert detection.within() <= limit
    assert group.detect(detector, 0.3, 60).within() <= detection.within() <= group.detect(detector, 0.1, 60).within()


def test_both_metrics_are_watched_by_the_rules_of_production(studies: Studies) -> None:
    false_alarms, share, delay = studies.figures[-3:]
    first, *further_rows = [row.split(" | ") for row in studies.both_metrics().rows]
    assert first[1] == f"{MonitoringSettings().plays.h:g} and {MonitoringSettings().useful.h:g}"
    assert first[2] == f"{false_alarms.number:.1f}"
    assert false_alarms.number < 15
    assert false_alarms.number <= float(further_rows[0][2]), "with h 5 for both there are more"
    assert share.number > 95
    assert delay.number <= 7


def test_autocorrelation_raises_more_false_alarms_and_a_higher_h_fewer() -> None:
    independent, dependent = (Histories(NormalNoise(1.2, share), 200, 1_000, 11) for share in (0.0, 0.2))
    shares = [share_within(group.false_alarms(detector, 90), 90) for group in (independent, dependent)]
    assert shares[1] > 1.5 * shares[0]
    higher = dependent.false_alarms(lambda values, users: cusum(values, users, CusumSettings(h=8)), 90)
    assert share_within(higher, 90) < shares[0]


def test_changing_number_of_users_is_no_alarm(studies: Studies) -> None:
    shares = {
        users: tuple(map(float, percents))
        for kind, users, *percents in (row.split(" | ") for row in studies.changing_users().rows)
        if kind == NORMAL
    }
    assert len(shares) == 5
    assert all(higher_h <= alarms < 15 for alarms, higher_h, _ in shares.values())
    constant, _, fewer, falling, growing = shares.values()
    assert constant[0] == constant[2]
    assert min(fewer[2], falling[2]) > 25
    assert growing[2] <= growing[0]


def test_page_has_its_figures_between_its_marks_and_the_plot_is_drawn(days: Days, tmp_path: Path) -> None:
    studies = Studies(days, 10, lambda text: None)
    page = tmp_path / "drift-detection.md"
    page.write_text(PAGE)
    assert write_simulation(MockPopulation(), studies, tmp_path) == page
    text = page.read_text()
    assert text.startswith("# Title\n\nBefore.\n")
    assert text.endswith("<!-- simulation: end -->\n\nAfter.\n")
    assert "of before" not in text
    assert "--histories 10 --write" in text
    for figure in studies.figures:
        row = f"| {figure.name} | {figure.target_text} | {figure.number_text} |"
        assert row in text
    for table in studies.tables:
        assert (f"### {table.title}" in text) is (table.title not in TABLES_LEFT_OUT)
        assert all(row.count(" | ") == table.header.count(" | ") for row in table.rows)
    write_simulation(MockPopulation(), studies, tmp_path)
    assert page.read_text() == text
    assert (tmp_path / "images" / "quality-alarms.png").read_bytes().startswith(b"\x89PNG")


def test_tables_that_the_page_leaves_out_exist(studies: Studies) -> None:
    assert {table.title for table in studies.tables} >= set(TABLES_LEFT_OUT)


def test_same_days_give_the_same_figures(days: Days, studies: Studies) -> None:
    repeated = Studies(days, studies.count, lambda text: None)
    assert repeated.quiet() == studies.quiet()


def test_page_without_marks_is_refused_before_anything_is_simulated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "drift-detection.md").write_text("# Title\n")
    with pytest.raises(SystemExit):
        read_options(["--write", str(tmp_path)])
    assert "simulation: begin" in capsys.readouterr().err
