-- All rows of one listener in one table.
delete from {table} where {column} = %(user_id)s
