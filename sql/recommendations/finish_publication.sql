-- The one row of a publication: whether its list went live, or why not.
update ml.publications set status = %(status)s, reason = %(reason)s where publication_id = %(publication_id)s
