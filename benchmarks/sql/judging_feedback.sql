-- One row per listener in five and day on which they listened: what they say of another track of their list each day.
insert into ml.feedback (user_id, track_id, publication_id, useful, key_id, created_at, updated_at)
select
    session.user_id,
    list.track_id,
    list.publication_id,
    random() < 0.3,
    (%(keys)s::text[])[1 + session.user_id %% cardinality(%(keys)s::text[])],
    session.created_at,
    session.created_at
from warehouse.listen_history as session
join ml.recommendations as list
    on list.user_id = session.user_id
    and list.rank = 1 + (session.created_at at time zone 'UTC')::date - %(first)s::date
where session.user_id %% 5 = 0
