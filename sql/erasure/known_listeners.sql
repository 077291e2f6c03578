-- One row per listener who is published.
select id from warehouse.users
