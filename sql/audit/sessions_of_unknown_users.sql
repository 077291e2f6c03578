-- One row per staged session whose user was never published.
select user_id, created_at
from {batch}
where not exists (select from warehouse.users where users.id = user_id)
