-- Who may do what: a role for each part of the system, without a login; logins are members of one of them.
-- Who sees what is in docs/data-model.md. A table that comes later belongs to nobody but its owner until it is decided.

do $$
declare
    wanted text;
begin
    foreach wanted in array array[
        'moovitamix_ingest', 'moovitamix_recommender', 'moovitamix_serving', 'moovitamix_analyst'
    ]
    loop
        if not exists (select from pg_roles where rolname = wanted) then
            begin
                execute 'create role ' || quote_ident(wanted) || ' nologin';
            exception when duplicate_object or unique_violation then
                null; -- another database of this server was migrated at the same moment
            end;
        end if;
        -- Also where we just made it: since Postgres 16 who makes a role may grant it, and not yet take it.
        begin
            execute 'grant ' || quote_ident(wanted) || ' to current_user';
        exception when insufficient_privilege then
            null; -- it was made for us by another: who takes it has a login of its own, or we are a member already
        end;
    end loop;
end
$$;

-- What the health page shows. `unknown_fields` holds text of the source, and is left out.
grant usage on schema ops to moovitamix_serving;
grant select on ops.runs, ops.run_batches, ops.expectation_results, ops.task_runs to moovitamix_serving;
grant select (
    batch_id, endpoint, day, revision, source, status, rows_reported, rows_landed, rows_rejected, rows_duplicate,
    rows_unchanged, rows_staged, rows_inserted, rows_updated, rows_removed, plays_rejected, started_at, finished_at, reason
) on ops.batches to moovitamix_serving;
grant select on ml.quality_metrics, ml.alarms, ml.decisions to moovitamix_serving;
