-- One erasure: what there is to be erased, so that one which is cut off tells the same when it is done.
update ops.erasures set found = found || %(found)s where erasure_id = %(erasure_id)s
