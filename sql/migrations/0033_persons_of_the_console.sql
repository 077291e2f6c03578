-- A person who signs in to the console with OpenID Connect has no API key. Sessions and actions name the person by a pseudonym.

alter table serving.console_sessions
    alter column key_id drop not null,
    add column person text,
    add column scopes text[],
    add check ((key_id is null) <> (person is null)),
    add check ((person is null) = (scopes is null));
alter table serving.console_actions
    alter column key_id drop not null,
    add column person text,
    add check ((key_id is null) <> (person is null));

comment on column serving.console_sessions.key_id is 'API key that signed in; null for a person.';
comment on column serving.console_sessions.person is
    'Pseudonym of a person of OpenID Connect: SHA-256 of issuer, space and subject, 32 characters; null for a key.';
comment on column serving.console_sessions.scopes is 'Scopes of the person; null for a key, which has its own.';
comment on column serving.console_actions.key_id is 'API key that requested it; null for a person.';
comment on column serving.console_actions.person is 'Pseudonym of the person who requested it; null for a key.';
