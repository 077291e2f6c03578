-- One row per user and track: checked, now that all rows are there.
alter table mart.user_track_plays add constraint user_track_plays_pkey primary key (user_id, track_id);
reset enable_hashagg;
reset work_mem
