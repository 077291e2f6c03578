-- name: request_action
-- Records an action before it starts, and returns its id. A form that is sent again gets the id of its first row, which
-- does not change; `do nothing` would return no id.
insert into serving.console_actions (
    action, target, reason, key_id, person, requested_at, state, snoozed_until, form_key
)
values (
    %(action)s, %(target)s, %(reason)s, %(key_id)s, %(person)s, %(now)s, %(state)s, %(snoozed_until)s, %(form_key)s
)
on conflict (form_key) do update set form_key = excluded.form_key
returning action_id;

-- name: record_start
-- Records whether Prefect accepted the run of an action, and returns its id.
update serving.console_actions
set state = %(state)s, flow_run_id = %(flow_run_id)s, detail = %(detail)s
where action_id = %(action_id)s
returning action_id;

-- name: find_actions
-- One row per action, the newest first.
select action_id, action, target, reason, key_id, person, requested_at, state, flow_run_id, detail, snoozed_until
from serving.console_actions
order by action_id desc
limit 50;

-- name: find_snoozes
-- One row per incident that is snoozed now: the newest snooze of its key.
select distinct on (target) target, snoozed_until, reason, key_id
from serving.console_actions
where action = 'snooze' and snoozed_until > %(now)s
order by target, action_id desc;
