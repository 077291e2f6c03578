-- The fallbacks of one publication.
delete from ml.fallbacks where publication_id = %(publication_id)s
