-- Which artists were played most in the last 28 days with plays, and how does that compare with the 28 days before? One
-- row per artist.
with newest as (select max(day) as day from mart.daily_track_plays)

select
    artist,
    coalesce(sum(plays) filter (where plays_of.day > newest.day - 28), 0) as plays,
    coalesce(sum(plays) filter (where plays_of.day <= newest.day - 28), 0) as plays_before
from mart.artist_plays_by_day as plays_of
cross join newest
where plays_of.day > newest.day - 56
group by artist
order by plays desc, artist
limit 20;
