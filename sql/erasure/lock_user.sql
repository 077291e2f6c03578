-- At most one row: the listener, to whom nobody adds anything until the transaction ends.
select id from warehouse.users where id = %(user_id)s for update
