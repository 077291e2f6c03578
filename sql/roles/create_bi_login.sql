-- The login of BI tools on the TCP port of the embedded Postgres. Migrations grant read rights to its role.
do $$
begin
    if not exists (select from pg_roles where rolname = 'moovitamix_analyst') then
        create role moovitamix_analyst nologin;
    end if;
    if not exists (select from pg_roles where rolname = 'moovitamix_bi') then
        create role moovitamix_bi in role moovitamix_analyst;
    end if;
end
$$;
alter role moovitamix_bi login password {password};
alter role moovitamix_bi set default_transaction_read_only = on
