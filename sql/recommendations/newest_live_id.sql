-- At most one row: which going-live is the newest.
select live_id from ml.live_publications order by live_id desc limit 1
