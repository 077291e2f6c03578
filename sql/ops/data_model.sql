-- name: find_schemas
-- One row per schema: its name and its comment.
select schema.nspname::text, coalesce(obj_description(schema.oid, 'pg_namespace'), '')
from unnest(%(schemas)s::text[]) with ordinality as listed (name, number)
join pg_namespace as schema on schema.nspname = listed.name
order by listed.number;

-- name: find_columns
-- One row per column of the tables and views in a schema, with the comments on both. Partitions are left out, because
-- the comments on their parent describe them.
select
    relation.relname::text as relation,
    relation.relkind in ('v', 'm') as is_view,
    coalesce(obj_description(relation.oid, 'pg_class'), '') as relation_comment,
    attribute.attname::text as column,
    format_type(attribute.atttypid, attribute.atttypmod) as type,
    exists (
        select from pg_index
        where indrelid = relation.oid and indisprimary and attribute.attnum = any(indkey)
    ) as is_key,
    relation.relkind in ('r', 'p') and not attribute.attnotnull as is_nullable,
    coalesce(col_description(relation.oid, attribute.attnum), '') as column_comment
from pg_class as relation
join pg_namespace as schema on schema.oid = relation.relnamespace
join pg_attribute as attribute
    on attribute.attrelid = relation.oid and attribute.attnum > 0 and not attribute.attisdropped
where schema.nspname = %(schema)s
    and relation.relkind in ('r', 'p', 'v', 'm')
    and not relation.relispartition
order by relation.relname, attribute.attnum;
