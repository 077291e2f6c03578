-- Whether no play was counted yet and only new sessions bring any.
select not exists (select from mart.user_track_plays) and not exists (select from changed_sessions)
