-- The empty table of the bare loop.
drop schema if exists bare cascade;
create schema bare;
create table bare.messages (
    user_id bigint, items bigint[], created_at timestamp, updated_at timestamp
);
