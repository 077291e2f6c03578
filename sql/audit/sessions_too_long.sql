-- One row per staged session with more plays than the limit.
select user_id, created_at from {batch} where cardinality(items) > {limit}
