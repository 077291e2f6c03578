-- One listener.
delete from warehouse.users where id = %(user_id)s
