-- One row per publication whose rows are still kept, and need not be: neither live, nor among the newest that were,
-- nor staged or blocked within a day. One made a day after now or later was so by a clock that was ahead. From now on
-- they are gone, whatever is left of them.
update ml.publications
set pruned_at = %(pruned_at)s
where pruned_at is null
    and publication_id is distinct from (select publication_id from ml.live_publications order by live_id desc limit 1)
    and case when status = 'published'
        then publication_id not in (
            select publication_id from ml.live_publications
            group by publication_id order by max(live_id) desc limit %(kept)s
        )
        else made_at not between %(unpublished_before)s and %(unpublished_after)s
    end
