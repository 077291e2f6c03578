-- Only when the table is empty. Truncated here, it may be filled without the write-ahead log; sorted, its key is
-- quick to build and a user's rows lie together.
truncate mart.user_track_plays;
alter table mart.user_track_plays drop constraint user_track_plays_pkey;
set local enable_hashagg = off;
set local work_mem = '256MB'
