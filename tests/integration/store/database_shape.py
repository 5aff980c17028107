"""What a schema is made of, for comparing two databases."""

from __future__ import annotations

import re

import asyncpg

CATALOG = """
select 'relation', relation.oid::regclass::text, concat_ws(' ', relkind, relrowsecurity, relforcerowsecurity,
       (select array_agg(who::text order by who::text collate "C")
          from unnest(coalesce(relacl,
                acldefault(case relkind when 'S' then 's' else 'r' end::"char", relowner))) as who
         where who::text !~ $1))
  from pg_class as relation where relnamespace::regnamespace::text in ('public', 'zmartd')
union all
select 'column', attrelid::regclass || '.' || attname, concat_ws(' ', format_type(atttypid, atttypmod),
       attnotnull, attgenerated, attidentity, pg_get_expr(adbin, adrelid),
       (select array_agg(who::text order by who::text collate "C") from unnest(attacl) as who))
  from pg_attribute join pg_class as relation on relation.oid = attrelid
  left join pg_attrdef on adrelid = attrelid and adnum = attnum
 where relnamespace::regnamespace::text in ('public', 'zmartd') and attnum > 0 and not attisdropped
   and relkind in ('r', 'v')
union all
select 'policy', schemaname || '.' || tablename || '.' || policyname,
       concat_ws(' ', roles, cmd, qual, with_check)
  from pg_policies
union all
select 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid) from pg_constraint
 where connamespace::regnamespace::text in ('public', 'zmartd') and conrelid <> 0 and contype <> 'n'
union all
select 'index', indexrelid::regclass::text, pg_get_indexdef(indexrelid) from pg_index
  join pg_class as relation on relation.oid = indrelid
 where relnamespace::regnamespace::text in ('public', 'zmartd')
union all
select 'routine', oid::regprocedure::text, concat_ws(' ',
       md5(case prokind when 'a' then prosrc else pg_get_functiondef(oid) end), (
       select array_agg(who::text order by who::text collate "C")
         from unnest(coalesce(proacl, acldefault('f', proowner))) as who where who::text !~ $1))
  from pg_proc where pronamespace::regnamespace::text in ('public', 'zmartd')
union all
select 'trigger', tgrelid::regclass || '.' || tgname, pg_get_triggerdef(oid) from pg_trigger
 where not tgisinternal
"""
"""Kind, name and definition of everything in the schemas of zmartd, with the rights of all grantees
that $1 does not match.
"""
_OWNERS = """
select string_agg(distinct proowner::regrole::text, '|') from pg_proc
 where pronamespace::regnamespace::text = 'zmartd'
"""
"""Who has migrated, and the superuser, to whom the functions of an extension belong."""


async def shape(url: str) -> dict[tuple[str, str], str]:
    """The definition of everything by kind and name, without the names and the rights of owners."""
    connection = await asyncpg.connect(url)
    try:
        owners = await connection.fetchval(_OWNERS)
        rows = await connection.fetch(CATALOG, f"^({owners})=")
        return {(row[0], row[1]): re.sub(f"/({owners})(?=[,}}])", "/", row[2]) for row in rows}
    finally:
        await connection.close()
