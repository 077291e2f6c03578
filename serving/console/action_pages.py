"""Actions: replay, accept, roll back, retrain, and snooze an incident. Each is confirmed in a form and recorded.

A run does the work with the role of its worker, and refuses what is wrong; this process only asks Prefect to start it.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from starlette.responses import RedirectResponse, Response

from core.clock import utc_now
from core.errors import UsageError
from core.reasons import check_reason
from serving.console.console_request import ConsolePageMissing, ConsoleRequest, read_id
from serving.console.deployment_runs import DeploymentRuns, PrefectUnanswered, RunRefused
from serving.console.rendering import PREFIX
from serving.dashboard.incidents import OpenIncident, read_incidents

ActionName = Literal["replay", "accept", "rollback", "retrain", "snooze"]
SNOOZE_HOURS = (1, 4, 24, 72)


@dataclass(frozen=True)
class ConsoleAction:
    """One kind of action. `deployment` runs it; a snooze has none."""

    name: ActionName
    title: str
    consequence: str
    deployment: str | None
    target_label: str = ""
    target_hint: str = ""
    target_required: bool = False
    runbook: str = "Where to look"


ACTIONS: Mapping[str, ConsoleAction] = {
    action.name: action
    for action in (
        ConsoleAction(
            "replay",
            "Replay a batch",
            "The landed pages of the batch are transformed, audited and published again, without extracting them. If"
            " the audit fails again, the batch stays blocked and the warehouse does not change.",
            "replay/replay-batch",
            "Batch",
            "Such as tracks-2026-11-22.",
            target_required=True,
            runbook="A batch is blocked",
        ),
        ConsoleAction(
            "accept",
            "Accept a blocked batch",
            "The batch is audited again and published although the same expectations fail. New or worse failures keep"
            " it blocked. Its rows reach the warehouse and the recommendations.",
            "replay/replay-batch",
            "Batch",
            "Such as tracks-2026-11-22.",
            target_required=True,
            runbook="Accept a blocked batch",
        ),
        ConsoleAction(
            "rollback",
            "Roll back recommendations",
            "An earlier publication is live again at once for all users, and its model becomes the champion.",
            "rollback/roll-back-publication",
            "Publication",
            "The number of a kept publication. Empty: the publication that was live before.",
            runbook="The live recommendations are bad",
        ),
        ConsoleAction(
            "retrain",
            "Train models now",
            "All candidates are trained, which takes minutes and the memory of the models' worker. The best replaces"
            " the champion only if it wins the gate.",
            "retrain/weekly-training",
            runbook="Quality fell: a drift alarm",
        ),
        ConsoleAction(
            "snooze",
            "Snooze an incident",
            "The incident stops counting for the health status until the time is over, also if it closes and opens"
            " again. Its cause is not repaired, and notifications are sent as before.",
            None,
            "Incident",
            target_required=True,
        ),
    )
}
STATES = {
    "requested": "Prefect has not answered",
    "started": "started",
    "refused": "not started",
    "done": "done",
}


class ConsoleActions:
    """The pages of actions. A session needs the scope console:act to start one."""

    def __init__(self, runs: DeploymentRuns) -> None:
        self._runs = runs

    async def show_all(self, request: ConsoleRequest) -> Response:
        """The audit record of actions, and links to their forms."""
        data = await request.read({"actions": "actions.find_actions"})
        return request.page(
            "actions.html",
            "actions",
            "Actions",
            actions=data["actions"],
            kinds=ACTIONS.values(),
            states=STATES,
            is_configured=self._runs.is_configured,
            started=request.parameter("started"),
        )

    async def show_form(self, request: ConsoleRequest) -> Response:
        """The form that confirms an action. Raises ConsolePageMissing."""
        action = _action_of(request)
        return self._form(request, action, {"target": request.parameter("target")})

    async def start(self, request: ConsoleRequest, form: Mapping[str, str]) -> Response:
        """Record an action and start it. Raises ConsolePageMissing, DatabaseError."""
        action = _action_of(request)
        if not request.session.may_act:
            return self._form(
                request, action, form, "You may only read: starting actions needs the scope console:act.", 403
            )
        if not request.session.accepts_form(form.get("csrf_token", "")):
            return self._form(request, action, form, "The form was not made for this session. Send it again.", 403)
        try:
            values, parameters = await self._checked(request, action, form)
        except (UsageError, ConsolePageMissing) as error:
            return self._form(request, action, form, f"{error}", 422)
        if action.deployment is not None and not self._runs.is_configured:
            problem = "This process may start no runs: CONSOLE_PREFECT_API_URL is not set. Use the command line."
            return self._form(request, action, form, problem, 503)
        form_key = _form_key(request, action, form, values["target"])
        (recorded,) = await request.write("actions.request_action", form_key=form_key, **values)
        if action.deployment is not None:
            try:
                await self._start_run(request, action.deployment, parameters, form_key, recorded[0])
            except PrefectUnanswered as error:
                return self._form(request, action, form, f"{error}", 503)
        return RedirectResponse(f"{PREFIX}/actions?started={recorded[0]}", 303)

    async def _start_run(
        self, request: ConsoleRequest, deployment: str, parameters: Mapping[str, Any], form_key: str, action_id: int
    ) -> None:
        """Start a run and record the outcome. The same key starts one run.

        Raises PrefectUnanswered; the action is then recorded as requested.
        """
        outcome: dict[str, str | None]
        try:
            run = await self._runs.start(deployment, parameters, form_key)
        except RunRefused as error:
            outcome = {"state": "refused", "flow_run_id": None, "detail": str(error)}
        else:
            outcome = {"state": "started", "flow_run_id": run.flow_run_id, "detail": run.name}
        await request.write("actions.record_start", action_id=action_id, **outcome)

    async def _checked(
        self, request: ConsoleRequest, action: ConsoleAction, form: Mapping[str, str]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The values of the audit record, and the parameters of the run. Raises UsageError, ConsolePageMissing."""
        target, reason = form.get("target", "").strip()[:200], check_reason(form.get("reason"), "The reason")
        if form.get("confirmed") != "yes":
            raise UsageError("Confirm that you have read what happens")
        if action.target_required and not target:
            raise UsageError(f"{action.target_label} must not be empty")
        parameters: dict[str, Any] = {}
        recorded_reason, snoozed_until = reason, None
        if action.name in ("replay", "accept"):
            await self._check_batch(request, action, target)
            parameters = {"batch_id": target}
        if action.name == "accept":
            by = check_reason(form.get("by"), "Who accepts it")
            parameters |= {"accept": reason, "by": by}
            recorded_reason = f"{reason} (accepted by {by})"
        elif action.name == "rollback":
            parameters = {"why": reason} | ({"publication_id": read_id(target, "publication")} if target else {})
        elif action.name == "snooze":
            snoozed_until = request.now + timedelta(hours=_hours(form.get("hours", "")))
            if target not in {incident.key for incident in _open_incidents(request)}:
                raise UsageError("This incident is not open any more")
        values = {
            "action": action.name,
            "target": target,
            "reason": recorded_reason,
            "key_id": request.session.key_id,
            "person": request.session.person,
            "now": request.now,
            "state": "requested" if action.deployment else "done",
            "snoozed_until": snoozed_until,
        }
        return values, parameters

    async def _check_batch(self, request: ConsoleRequest, action: ConsoleAction, target: str) -> None:
        found = (await request.read({"batch": "batches.find_batch"}, batch_id=target))["batch"]
        if not found:
            raise UsageError("No batch has this id")
        status = found[0]["status"]
        if status in ("published", "unchanged"):
            raise UsageError(f"{target} is {status} already: there is nothing to {action.name}")
        if action.name == "accept" and status != "blocked":
            raise UsageError(f"{target} is {status}; only a blocked batch can be accepted")

    def _form(
        self,
        request: ConsoleRequest,
        action: ConsoleAction,
        form: Mapping[str, str],
        problem: str = "",
        status: int = 200,
    ) -> Response:
        incidents = _open_incidents(request) if action.name == "snooze" else ()
        return request.page(
            "action.html",
            "actions",
            action.title,
            status,
            action=action,
            form=form,
            problem=problem,
            form_id=form.get("form_id") or secrets.token_hex(8),
            incidents=incidents,
            hours=SNOOZE_HOURS,
        )


def _action_of(request: ConsoleRequest) -> ConsoleAction:
    action = ACTIONS.get(request.path_text("action"))
    if action is None:
        raise ConsolePageMissing("There is no such action.")
    return action


def _form_key(request: ConsoleRequest, action: ConsoleAction, form: Mapping[str, str], target: str) -> str:
    """The key of a form. Another target or time makes another action, also if the browser goes back to the form."""
    form_id = form.get("form_id") or secrets.token_hex(8)
    parts = [request.session.token, form_id, action.name, target, form.get("hours", "")]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _hours(text: str) -> int:
    if text not in map(str, SNOOZE_HOURS):
        raise UsageError("Choose how long the incident is snoozed")
    return int(text)


def _open_incidents(request: ConsoleRequest) -> Sequence[OpenIncident]:
    return read_incidents(request.settings, utc_now()).incidents
