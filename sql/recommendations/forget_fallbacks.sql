-- The fallbacks of publications that are gone.
delete from ml.fallbacks
where publication_id in (select publication_id from ml.publications where pruned_at is not null)
