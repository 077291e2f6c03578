-- name: start_publication
-- Records a publication, which is staged until its audit.
insert into ml.publications (model_run_id, flow, status, data_as_of, batches, made_at)
values (%(model_run_id)s, %(flow)s, 'staged', %(data_as_of)s, %(batches)s, %(made_at)s)
returning publication_id;

-- name: insert_expectation_result
-- Records the result of one expectation.
insert into ml.expectation_results
    (publication_id, expectation, "column", severity, success, unexpected_count, unexpected_share, observed_value,
    description)
values
    (%(publication_id)s, %(expectation)s, %(column)s, %(severity)s, %(success)s, %(unexpected_count)s,
    %(unexpected_share)s, %(observed_value)s, %(description)s)
on conflict do nothing;

-- name: finish_publication
-- Records the size of a publication, its status, and the reason if it was blocked.
update ml.publications
set status = %(status)s,
    reason = %(reason)s,
    listeners = profile.users_listed,
    rows = profile.rows_listed,
    tracks_covered = profile.tracks_covered,
    excludes_played = profile.excludes_played
from {profile} as profile
where publication_id = %(publication_id)s;

-- name: insert_live_publication
-- Makes a publication live.
insert into ml.live_publications (publication_id, live_from, why)
values (%(publication_id)s, %(live_from)s, %(why)s)
returning live_id;

-- name: find_publication
-- A publication, and whether it is live. No row if it does not exist.
select
    publication.publication_id,
    publication.status,
    publication.pruned_at,
    publication.publication_id = (select publication_id from ml.live_publications order by live_id desc limit 1)
from ml.publications as publication
where publication.publication_id = %(publication_id)s;

-- name: find_live_publication
-- The live publication and its model run; no row before the first.
select live.live_id, live.publication_id, run.model_run_id, run.model, run.params, run.model_file, run.model_digest,
    run.data_as_of
from ml.live_publications as live
join ml.publications using (publication_id)
join ml.model_runs as run using (model_run_id)
order by live.live_id desc
limit 1;

-- name: find_previous_publication
-- The kept publication that was live last before the live one; no row if there is none.
select live.publication_id
from ml.live_publications as live
join ml.publications as publication using (publication_id)
where publication.pruned_at is null
    and live.publication_id <> (select publication_id from ml.live_publications order by live_id desc limit 1)
order by live.live_id desc
limit 1;

-- name: find_live_id
-- The number of the newest row of `ml.live_publications`; no row before the first.
select live_id from ml.live_publications order by live_id desc limit 1;

-- name: find_publication_size
-- The size of a publication; no row if it does not exist.
select listeners, rows, tracks_covered from ml.publications where publication_id = %(publication_id)s;

-- name: find_newest_batches
-- One row per published endpoint: its newest published batch. Runs give the order, because a clock that was ahead may have
-- named a day in the future.
select distinct on (endpoint) batch_id
from ops.batches
where status in ('published', 'unchanged')
order by endpoint, read_in_run desc nulls last, day desc, revision desc;

-- name: is_outdated
-- One row: whether recommendations are outdated. They are if a batch was published that the newest publication does not
-- include, or if the live publication went live after `latest`, by a clock that was ahead. A publication names its batches.
-- It does not include snapshots that a later run read, whatever the clock was. If no run is known, times decide.
with newest as (
    select publication_id, made_at, batches
    from ml.publications
    where status = 'published'
    order by publication_id desc
    limit 1
)

select
    exists (
        select
        from ops.batches as batch
        left join newest on true
        where batch.status = 'published'
            and (
                newest.publication_id is null
                or batch.batch_id <> all (newest.batches)
                and case
                    when batch.read_in_run is not null then batch.read_in_run > coalesce(
                        (
                            select max(included.read_in_run)
                            from ops.batches as included
                            where included.endpoint = batch.endpoint and included.batch_id = any (newest.batches)
                        ),
                        0
                    )
                    else batch.finished_at > newest.made_at
                end
            )
    )
    or exists (
        select
        from (select live_from from ml.live_publications order by live_id desc limit 1) as live
        where live.live_from > %(latest)s
    );
