-- The e-mail and name of one listener in one table of users; one row at most where it is published.
select email, first_name, last_name from {table} where id = %(user_id)s
