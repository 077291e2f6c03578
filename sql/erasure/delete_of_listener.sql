-- All rows of one listener in one table.
delete from only {table} where {column} = %(user_id)s
