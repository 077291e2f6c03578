-- One row: the number of users who played one of their first k recommendations on a day.
select count(distinct play.user_id)
from mart.fact_listens as play
join ml.recommendations as recommendation
    on recommendation.user_id = play.user_id and recommendation.track_id = play.track_id
where play.listened_at >= %(day)s::date
    and play.listened_at < %(day)s::date + 1
    and recommendation.publication_id = %(publication)s
    and recommendation.rank <= %(k)s
