-- One row per published user that the batch has otherwise, or has again.
update warehouse.users as published
set first_name = staged.first_name,
    last_name = staged.last_name,
    email = staged.email,
    gender = staged.gender,
    favorite_genres = staged.favorite_genres,
    created_at = staged.created_at,
    updated_at = staged.updated_at,
    row_hash = staged.row_hash,
    batch_id = %(batch_id)s,
    removed_at = null
from {staged} as staged
where published.id = staged.id and not staged.is_new
