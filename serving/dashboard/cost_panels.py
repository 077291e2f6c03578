"""Panels about cost: seconds of each task, and CPU and memory of each run."""

from __future__ import annotations

import statistics
from collections import defaultdict

from serving.dashboard.page_data import PageData, TaskCost
from serving.dashboard.panel import Panel, count, nothing_to_draw, over_days

# Names of tasks in `ops.task_runs` that differ from the names in Prefect.
_NAMES_IN_PREFECT = {"shape": "transform"}
_TASKS_SHOWN = 12
_MIN_CPU = 0.01  # a logarithmic scale has no zero


def seconds_of_steps(data: PageData) -> Panel:
    """Median and latest duration of each task."""
    title = "Duration of each task"
    if not data.task_costs:
        return Panel("steps", title, nothing_to_draw(data, "no task ran"))
    calls: dict[tuple[str, str], list[TaskCost]] = defaultdict(list)
    for cost in data.task_costs:
        calls[(cost.flow, cost.task)].append(cost)
    steps = sorted(calls.items(), key=lambda step: -statistics.median(cost.seconds for cost in step[1]))
    rows, values = [], []
    for (flow, task), costs in steps:
        seconds = [cost.seconds for cost in costs]
        median, last = statistics.median(seconds), seconds[-1]
        name = f"{flow}: {_NAMES_IN_PREFECT.get(task, task).replace('_', ' ')}"
        rows.append((name, f"{median:,.2f}", f"{last:,.2f}", f"{max(seconds):,.2f}", str(len(costs))))
        values.append({"step": name, "usual": round(median, 3), "last": round(last, 3)})
    name, median_seconds, last_seconds, *_ = rows[0]
    finding = f"The longest is {name}: median {median_seconds} s, last {last_seconds} s."
    finding += " Bars show the median, lines the last run."
    if len(steps) > _TASKS_SHOWN:
        finding += f" The chart shows the {_TASKS_SHOWN} longest tasks, the table shows all."
    chart = ("steps", {"values": values[:_TASKS_SHOWN]})
    head = ("Task", "Median, s", "Last, s", "Longest, s", "Runs")
    return Panel("steps", title, finding, head, rows, chart)


def costs_of_runs(data: PageData) -> Panel:
    """Wall and CPU seconds of each run's tasks, and their peak memory."""
    title = "Cost of each run"
    if not data.task_costs:
        return Panel("runs", title, nothing_to_draw(data, "no task ran"))
    runs: dict[int, list[TaskCost]] = defaultdict(list)
    for cost in data.task_costs:
        runs[cost.run_id].append(cost)
    rows, values, peaks = [], [], []
    for run_id, costs in sorted(runs.items(), reverse=True):
        wall, cpu = sum(cost.seconds for cost in costs), sum(cost.cpu_seconds for cost in costs)
        memory = max((cost.peak_memory_mb for cost in costs if cost.peak_memory_mb is not None), default=None)
        started_at, flow = costs[0].started_at, costs[0].flow
        peaks += [(memory, flow, run_id)] if memory is not None else []
        peak = "-" if memory is None else f"{memory:,.0f}"
        rows.append((f"{flow} {run_id}, {started_at:%Y-%m-%d %H:%M}", f"{wall:,.1f}", f"{cpu:,.1f}", peak))
        values.append(
            {"day": str(started_at.date()), "flow": flow, "cpu": max(_MIN_CPU, round(cpu, 2)), "memory": memory}
        )
    finding = f"{count(len(runs), 'run')}. "
    if peaks:
        memory, flow, run_id = max(peaks)
        finding += f"Peak memory was {memory:,.0f} MiB ({flow}, run {run_id}). The last run took {rows[0][2]} s of CPU."
    else:
        finding += f"The last run took {rows[0][2]} s of CPU. This system does not report memory."
    head = ("Run", "Tasks, s", "CPU, s", "Peak memory, MiB")
    return Panel("runs", title, finding, head, rows, ("runs", over_days(data, values)))
