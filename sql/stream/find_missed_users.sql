-- One row about the next changes after a given change: their number, the newest of them, and the users whose fresh
-- recommendations do not include them, longest wait first. A change counts if the publication does not include its session:
-- no batch has confirmed the session, or a batch that is newer than the publication's data has, as after a rollback. The
-- published tracks of parked sessions count.
with newer as (
    select batch.batch_id
    from ops.batches as batch
    join ml.publications as publication on publication.publication_id = %(publication_id)s
    where batch.endpoint = 'listen_history'
        and not exists (
            select
            from ops.batches as included
            where included.endpoint = batch.endpoint
                and included.batch_id = any (publication.batches)
                and (coalesce(included.read_in_run, 0), included.day, included.revision)
                >= (coalesce(batch.read_in_run, 0), batch.day, batch.revision)
        )
),

changes as (
    (
        select user_id, change_id
        from stream.sessions
        where confirmed_by is null and change_id > %(after)s
        order by change_id
        limit %(max_changes)s
    )
    union all
    (
        select confirmed.user_id, confirmed.change_id
        from newer
        cross join lateral (
            select user_id, change_id
            from stream.sessions
            where confirmed_by = newer.batch_id and change_id > %(after)s
            order by change_id
            limit %(max_changes)s
        ) as confirmed
    )
    order by change_id
    limit %(max_changes)s
)

select
    (select count(*) from changes),
    (select max(change_id) from changes),
    array(
        select changes.user_id
        from changes
        join mart.dim_users as known_user on known_user.user_id = changes.user_id and known_user.removed_at is null
        left join ml.fresh_recommendations as fresh
            on fresh.publication_id = %(publication_id)s and fresh.user_id = changes.user_id
        left join stream.failed_recommendations as failed
            on failed.publication_id = %(publication_id)s and failed.user_id = changes.user_id
        where changes.change_id > greatest(fresh.change_id, failed.change_id, 0)
        group by changes.user_id
        order by min(changes.change_id)
    );
