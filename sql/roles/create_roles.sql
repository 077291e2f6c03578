-- One role without login for each part of the system. Logins are members of a role. Roles belong to the server, so another
-- installation or an administrator may have created them. If we may not create them, the error names the statements to run.
-- The owner of the schema is a member of the roles that own tables: it gives them these tables and reads them in views.
do $$
declare
    role_name text;
    membership text := case when current_setting('server_version_num')::integer >= 160000 then 'SET' else 'MEMBER' end;
    missing text := '';
begin
    foreach role_name in array array[
        'moovitamix_ingest', 'moovitamix_recommender', 'moovitamix_serving', 'moovitamix_analyst',
        'moovitamix_stream'
    ]
    loop
        begin
            if not exists (select from pg_roles where rolname = role_name) then
                execute 'create role ' || quote_ident(role_name) || ' nologin';
            end if;
        exception
            when duplicate_object or unique_violation then
                null; -- a migration of another database on this server created it at the same moment
            when insufficient_privilege then
                missing := missing || ' create role ' || role_name || ' nologin;';
        end;
        -- Needed also for a role that we just created: since Postgres 16 its creator may grant it, but is no full member.
        begin
            if not (pg_has_role(role_name, membership) and pg_has_role(role_name, 'USAGE')) then
                execute 'grant ' || quote_ident(role_name) || ' to current_user';
            end if;
        exception when insufficient_privilege or undefined_object then
            if role_name in ('moovitamix_ingest', 'moovitamix_recommender') then
                missing := missing || ' grant ' || role_name || ' to ' || quote_ident(current_user) || ';';
            end if; -- membership of the other roles is not needed: serving and analysts may have their own logins
        end;
    end loop;
    if missing <> '' then
        raise insufficient_privilege
            using message = 'it may not create roles (an administrator runs:' || rtrim(missing, ';') || ')';
    end if;
end
$$;
