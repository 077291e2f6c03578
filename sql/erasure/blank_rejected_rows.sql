-- Rejected rows of one listener: that there was one stays, and why, but nothing of what it said.
update ops.rejected_rows set raw_json = %(in_place)s where ctid = any(%(places)s::tid[])
