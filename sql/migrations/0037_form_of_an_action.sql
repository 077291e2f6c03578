-- serving: a form of the console that is sent twice is one action.

alter table serving.console_actions add column form_key text unique;
grant update (form_key) on serving.console_actions to moovitamix_serving;

comment on column serving.console_actions.form_key is
    'Hash of session, form, action, target and time, so that a form that is sent twice is one row; null for older rows.';
