-- At most one row: how large a publication is.
select listeners, rows, tracks_covered from ml.publications where publication_id = %(publication_id)s
