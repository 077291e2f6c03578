-- One row per user of the batch that was never published.
insert into warehouse.users (
    id, first_name, last_name, email, gender, favorite_genres, created_at, updated_at, row_hash, batch_id
)
select
    id, first_name, last_name, email, gender, favorite_genres, created_at, updated_at, row_hash, %(batch_id)s
from {staged}
where is_new
