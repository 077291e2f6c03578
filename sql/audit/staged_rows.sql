-- name: find_blank_values
-- One row per staged row whose column is blank, if more than the limited share of the snapshot is blank.
select id
from {batch}
where {column} !~ '\S'
    and (select count(*) from {batch} where {column} !~ '\S')
        > {limit} * (select rows_listed from {profile});

-- name: find_duplicate_ids
-- One row per id that is staged more than once.
select id from {batch} group by id having count(*) > 1;

-- name: find_impossible_timestamps
-- One row per staged row with a timestamp before 1970 or from 2200 on.
select {keys}
from {batch}
where least(created_at, updated_at) < timestamptz '1970-01-01 00:00:00+00'
    or greatest(created_at, updated_at) >= timestamptz '2200-01-01 00:00:00+00';
