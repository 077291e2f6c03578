-- Did users play and like more of what the newest publications offered? One row per publication, newest first, with the
-- share of users who played a recommended track for the first time, and its change from the publication before.
select
    publication_id,
    model,
    live_from,
    users,
    evaluated_days,
    round(hit_share::numeric, 4) as hit_share,
    round((hit_share - lag(hit_share) over (order by live_from))::numeric, 4) as change,
    round(useful_answers::numeric / nullif(useful_answers + not_useful_answers, 0), 3) as useful_share,
    positive_reactions,
    negative_reactions
from mart.publication_uptake
order by live_from desc
limit 20;
