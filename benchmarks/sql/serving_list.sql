-- One row per listener with a list and rank, into a table that becomes the publication's partition.
insert into ml.benchmark_list (publication_id, user_id, rank, track_id, score)
select %(publication)s, user_id, rank, 1 + (user_id * 7919 + rank * 104729) %% %(tracks)s::bigint, 1.0 / rank
from generate_series(1, %(listeners)s::bigint) as listeners (user_id)
cross join generate_series(1, %(length)s::integer) as ranks (rank)
where user_id %% 10 <> 0
