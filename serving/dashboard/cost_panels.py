"""What runs cost: how long each step takes, CPU and memory of each run."""

from __future__ import annotations

import statistics
from collections import defaultdict

from serving.dashboard.page_data import PageData, TaskCost
from serving.dashboard.panel import Panel, count, nothing_to_draw, over_days

_STEPS_SHOWN = 12
_LEAST_CPU = 0.01  # on a logarithmic scale there is no zero


def seconds_of_steps(data: PageData) -> Panel:
    """What each step usually takes, and what it took last."""
    title = "How long each step takes"
    if not data.task_costs:
        return Panel("steps", title, nothing_to_draw(data, "no step ran"))
    calls: dict[tuple[str, str], list[TaskCost]] = defaultdict(list)
    for cost in data.task_costs:
        calls[(cost.flow, cost.task)].append(cost)
    steps = sorted(calls.items(), key=lambda step: -statistics.median(one.seconds for one in step[1]))
    rows, values = [], []
    for (flow, task), costs in steps:
        seconds = [one.seconds for one in costs]
        usual, last = statistics.median(seconds), seconds[-1]
        name = f"{flow}: {task.replace('_', ' ')}"
        rows.append((name, f"{usual:,.2f}", f"{last:,.2f}", f"{max(seconds):,.2f}", str(len(costs))))
        values.append({"step": name, "usual": round(usual, 3), "last": round(last, 3)})
    name, usual_seconds, last_seconds, *_ = rows[0]
    finding = f"The longest is {name}, usually {usual_seconds} s and last {last_seconds} s."
    finding += " Bars are the median, lines the last run."
    if len(steps) > _STEPS_SHOWN:
        finding += f" The {_STEPS_SHOWN} longest are drawn; the table has all."
    chart = ("steps", {"values": values[:_STEPS_SHOWN]})
    head = ("Step", "Median, s", "Last, s", "Longest, s", "Runs")
    return Panel("steps", title, finding, head, rows, chart)


def costs_of_runs(data: PageData) -> Panel:
    """Wall and CPU seconds of each run's steps, and the most memory that one of them had."""
    title = "What each run costs"
    if not data.task_costs:
        return Panel("runs", title, nothing_to_draw(data, "no step ran"))
    runs: dict[int, list[TaskCost]] = defaultdict(list)
    for cost in data.task_costs:
        runs[cost.run_id].append(cost)
    rows, values, peaks = [], [], []
    for run_id, costs in sorted(runs.items(), reverse=True):
        wall, cpu = sum(one.seconds for one in costs), sum(one.cpu_seconds for one in costs)
        memory = max((one.peak_memory_mb for one in costs if one.peak_memory_mb is not None), default=None)
        began, flow = costs[0].started_at, costs[0].flow
        peaks += [(memory, flow, run_id)] if memory is not None else []
        told = "-" if memory is None else f"{memory:,.0f}"
        rows.append((f"{flow} {run_id}, {began:%Y-%m-%d %H:%M}", f"{wall:,.1f}", f"{cpu:,.1f}", told))
        values.append({"day": str(began.date()), "flow": flow, "cpu": max(_LEAST_CPU, round(cpu, 2)), "memory": memory})
    finding = f"{count(len(runs), 'run')}; "
    if peaks:
        memory, flow, run_id = max(peaks)
        finding += f"the most memory was {memory:,.0f} MiB, of {flow} (run {run_id}), the last run took "
        finding += f"{rows[0][2]} s of CPU."
    else:
        finding += f"the last took {rows[0][2]} s of CPU; memory is not told by this system."
    head = ("Run", "Steps, s", "CPU, s", "Peak memory, MiB")
    return Panel("runs", title, finding, head, rows, ("runs", over_days(data, values)))
