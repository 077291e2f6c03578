-- The one row of a publication whose rows went with the retention.
update ml.publications set pruned_at = %(pruned_at)s where publication_id = %(publication_id)s
