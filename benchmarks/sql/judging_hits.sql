-- One row: how many listeners played something on a day that stands among the first so many of their list.
select count(distinct play.user_id)
from mart.fact_listens as play
join ml.recommendations as list on list.user_id = play.user_id and list.track_id = play.track_id
where play.listened_at >= %(day)s::date
    and play.listened_at < %(day)s::date + 1
    and list.publication_id = %(publication)s
    and list.rank <= %(k)s
