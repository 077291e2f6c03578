-- One row per staged session without plays.
select user_id, created_at from {batch} where cardinality(items) = 0
