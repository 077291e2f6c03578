-- One row per day and user in five who listened: an answer to another track of their recommendations each day.
insert into ml.feedback (user_id, track_id, publication_id, useful, key_id, created_at, updated_at)
select
    session.user_id,
    recommendation.track_id,
    recommendation.publication_id,
    random() < 0.3,
    (%(keys)s::text[])[1 + session.user_id %% cardinality(%(keys)s::text[])],
    session.created_at,
    session.created_at
from warehouse.listen_history as session
join ml.recommendations as recommendation
    on recommendation.user_id = session.user_id
    and recommendation.rank = 1 + (session.created_at at time zone 'UTC')::date - %(first)s::date
where session.user_id %% 5 = 0
