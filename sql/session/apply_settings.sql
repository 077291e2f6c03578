-- Applies the settings that this server knows. One row per setting: its name and its value in this session.
-- Every name is qualified, because another login may have set the search path.
with settings as (
    select name, value, place
    from rows from (
        pg_catalog.unnest(%(names)s::pg_catalog.text[]), pg_catalog.unnest(%(values)s::pg_catalog.text[])
    ) with ordinality as pinned (name, value, place)
    union all
    select 'server_encoding', null, 0
    union all
    -- Planner methods that a default has changed. Each version of Postgres has different ones.
    select name, boot_val, 0
    from pg_catalog.pg_settings
    where pg_catalog.starts_with(name, 'enable_')
        and context operator(pg_catalog.=) 'user'
        and setting operator(pg_catalog.<>) boot_val
        and name operator(pg_catalog.<>) all (%(names)s::pg_catalog.text[])
)
select
    name,
    case
        when name operator(pg_catalog.=) 'server_encoding' then pg_catalog.current_setting(name)
        when name operator(pg_catalog.<>) all (%(superuser)s::pg_catalog.text[])
            or pg_catalog.has_parameter_privilege(name, 'SET')
        then pg_catalog.set_config(name, value, false)
        else pg_catalog.current_setting(name)
    end
from settings
where pg_catalog.current_setting(name, true) is not null
order by place;
