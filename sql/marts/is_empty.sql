-- Whether no play was counted yet.
select not exists (select from mart.user_track_plays)
