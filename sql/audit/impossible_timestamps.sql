-- One row per staged row with a timestamp that no computer can have recorded..
select {keys}
from {batch}
where least(created_at, updated_at) < timestamptz '1970-01-01 00:00:00+00'
    or greatest(created_at, updated_at) >= timestamptz '2200-01-01 00:00:00+00'
