-- One role for each part of the system, none with a login: logins are members of one of them. Roles belong to the server,
-- so another installation may have made them, or somebody who may, where we may not: then the error says what to run.
-- Who brings the schema up to date is a member of those that own tables: it hands these over, and reads them in views.
do $$
declare
    wanted text;
    may_be text := case when current_setting('server_version_num')::integer >= 160000 then 'SET' else 'MEMBER' end;
    missing text := '';
begin
    foreach wanted in array array[
        'moovitamix_ingest', 'moovitamix_recommender', 'moovitamix_serving', 'moovitamix_analyst'
    ]
    loop
        begin
            if not exists (select from pg_roles where rolname = wanted) then
                execute 'create role ' || quote_ident(wanted) || ' nologin';
            end if;
        exception
            when duplicate_object or unique_violation then
                null; -- another database of this server was migrated at the same moment
            when insufficient_privilege then
                missing := missing || ' create role ' || wanted || ' nologin;';
        end;
        -- Also where we just made it: since Postgres 16 who makes a role may grant it, and not yet take it.
        begin
            if not (pg_has_role(wanted, may_be) and pg_has_role(wanted, 'USAGE')) then
                execute 'grant ' || quote_ident(wanted) || ' to current_user';
            end if;
        exception when insufficient_privilege or undefined_object then
            if wanted in ('moovitamix_ingest', 'moovitamix_recommender') then
                missing := missing || ' grant ' || wanted || ' to ' || quote_ident(current_user) || ';';
            end if; -- the others it need not take: serving and analysts may have logins of their own
        end;
    end loop;
    if missing <> '' then
        raise insufficient_privilege
            using message = 'it may not make roles (who may, runs:' || rtrim(missing, ';') || ')';
    end if;
end
$$;
