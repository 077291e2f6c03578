-- One row per listener, one in ten without a list of their own later.
insert into warehouse.users
select id, 'first', 'last', 'e-mail', 'x', case id %% 2 when 0 then 'Rock' else 'Jazz' end, '2024-05-01', '2024-05-01', null, 0, 'b'
from generate_series(1, %(listeners)s::bigint) as listeners (id)
