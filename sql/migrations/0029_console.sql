-- serving: sessions and actions of the console. ops: the figure and the bounds of an expectation, for its history.

-- One row per signed-in browser. The cookie is not stored: `session_hash` is SHA-256 of it.
create table serving.console_sessions (
    session_hash bytea primary key,
    key_id text not null references serving.api_keys,
    created_at timestamptz not null,
    expires_at timestamptz not null
);
create index on serving.console_sessions (expires_at);

-- One row per action that a person requested in the console, before it starts. Rows are never deleted.
create table serving.console_actions (
    action_id bigint generated always as identity primary key,
    action text not null check (action in ('replay', 'accept', 'rollback', 'retrain', 'snooze')),
    target text not null,
    reason text not null,
    key_id text not null references serving.api_keys,
    requested_at timestamptz not null,
    state text not null check (state in ('requested', 'started', 'refused', 'done')),
    flow_run_id text,
    detail text,
    snoozed_until timestamptz
);
create index console_snoozes on serving.console_actions (snoozed_until) where action = 'snooze';

-- The measured figure and the limits that it was compared with; null for other expectations and for older audits.
alter table ops.expectation_results
    add column value double precision, add column lower double precision, add column upper double precision;

-- The console finds tracks by the beginning of their title. A key of a btree has at most 2,704 bytes.
create index tracks_by_title on warehouse.tracks (left(lower(name), 100) text_pattern_ops);

grant select, insert, delete on serving.console_sessions to moovitamix_serving;
grant select, insert, update (state, flow_run_id, detail) on serving.console_actions to moovitamix_serving;
grant select (batch_id, endpoint, row_position, play_position, reason) on ops.rejected_rows to moovitamix_serving;
grant select on ops.quarantined_rows, ml.expectation_results to moovitamix_serving;
grant select (created_at, received_at) on stream.sessions to moovitamix_serving;

comment on table serving.console_sessions is 'One row per signed-in browser of the console, until it expires.';
comment on column serving.console_sessions.session_hash is 'SHA-256 of the cookie.';
comment on column serving.console_sessions.key_id is 'API key that signed in.';
comment on column serving.console_sessions.created_at is 'When it signed in.';
comment on column serving.console_sessions.expires_at is 'When the session ends.';
comment on table serving.console_actions is 'One row per action that a person requested in the console. Rows stay.';
comment on column serving.console_actions.action_id is 'Number of the action, ascending.';
comment on column serving.console_actions.action is 'replay, accept, rollback, retrain or snooze.';
comment on column serving.console_actions.target is 'Batch, publication or incident; empty for a training.';
comment on column serving.console_actions.reason is 'Why, in the words of the person.';
comment on column serving.console_actions.key_id is 'API key that requested it.';
comment on column serving.console_actions.requested_at is 'When it was requested.';
comment on column serving.console_actions.state is
    'requested (Prefect has not answered), started (Prefect has a run), refused (Prefect has none) or done (a snooze).';
comment on column serving.console_actions.flow_run_id is 'Id of the run in Prefect; null if there is none.';
comment on column serving.console_actions.detail is 'Name of the run, or why it was refused; null before the answer.';
comment on column serving.console_actions.snoozed_until is 'When a snooze ends; null for other actions.';
comment on column ops.expectation_results.value is
    'Measured figure, or number of rows that fail; null if it was not stored.';
comment on column ops.expectation_results.lower is 'Lowest figure that passes; null without such a limit.';
comment on column ops.expectation_results.upper is 'Highest figure that passes; null without such a limit.';
