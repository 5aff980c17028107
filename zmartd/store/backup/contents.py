"""What is in a database of zmartd: its tables, counted in a role that row level security hides nothing from.

To its owner a table with forced row level security can look empty without any error. So it is not enough to
count: it is asked of each table whether a policy hides rows of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from asyncpg import Connection

from zmartd.store.backup.errors import BackupFailed
from zmartd.store.postgres.rls import SERVICE

SCHEMAS: Final = ("public", "zmartd")

_SEES_ALL_ITSELF = "select rolsuper or rolbypassrls from pg_roles where rolname = current_user"
_MAY_BE_SERVICE = """
select case when current_setting('server_version_num')::int >= 160000
            then pg_has_role($1, 'set') else pg_has_role($1, 'member') end
  from pg_roles where rolname = $1
"""
_TABLES = """
select relation.oid, format('%I.%I', space.nspname, relation.relname) as name,
       has_table_privilege(relation.oid, 'select') as readable,
       row_security_active(relation.oid) and not (
           exists (select from pg_policy as policy
                    where polrelid = relation.oid and polpermissive and polcmd in ('*', 'r')
                      and pg_get_expr(polqual, polrelid) = 'true' and polroles && $2::oid[])
           and not exists (select from pg_policy as policy
                            where polrelid = relation.oid and not polpermissive and polcmd in ('*', 'r'))
       ) as hides
  from pg_class as relation
  join pg_namespace as space on space.oid = relation.relnamespace
 where space.nspname = any($1::text[]) and relation.relkind = 'r'
   and not exists (select from pg_depend where classid = 'pg_class'::regclass and objid = relation.oid
                    and deptype = 'e')
 order by name
"""
_ROLES = "select array_agg(oid) || 0::oid from pg_roles where rolname = current_user"
_EXTENSIONS = """
with member as (
    select classid, objid, refobjid as extension from pg_depend
     where refclassid = 'pg_extension'::regclass and deptype = 'e'
)
select extname, nspname from pg_extension join pg_namespace as space on space.oid = extnamespace
 where pg_extension.oid in (
    select member.extension from pg_depend as use
      join member on (member.classid, member.objid) = (use.refclassid, use.refobjid)
     where not exists (select from member as other
                        where (other.classid, other.objid) = (use.classid, use.objid))
       and extname <> 'plpgsql')
"""


async def role_that_sees_all(connection: Connection) -> str | None:
    """The role in which everything can be read: None is the login itself, which row level security spares.

    Raises BackupFailed where there is no such role.
    """
    if await connection.fetchval(_SEES_ALL_ITSELF):
        return None
    if await connection.fetchval(_MAY_BE_SERVICE, SERVICE):
        return SERVICE
    login = await connection.fetchval("select current_user")
    raise BackupFailed(
        f"the login {login} of database.url sees only what row level security shows it: as an administrator "
        f"run GRANT {SERVICE} TO {login}, or use a login with BYPASSRLS"
    )


async def count_rows(connection: Connection) -> dict[str, int]:
    """How many rows each table has, by its name with the schema, as the present role sees it.

    Raises BackupFailed if rows of one could be hidden from that role. Takes a transaction.
    """
    roles = await connection.fetchval(_ROLES)
    tables = await connection.fetch(_TABLES, list(SCHEMAS), roles)
    hidden = [table["name"] for table in tables if table["hides"] or not table["readable"]]
    if hidden:
        role = await connection.fetchval("select current_user")
        raise BackupFailed(
            f"the role {role} does not see all rows of {', '.join(hidden)}: run `zmartd migrate`, or use a "
            "login with BYPASSRLS"
        )
    if not tables:
        return {}
    counts = " union all ".join(
        f"select {number} as number, count(*) as rows from {table['name']}"  # noqa: S608 - quoted by Postgres
        for number, table in enumerate(tables)
    )
    rows = {row["number"]: row["rows"] for row in await connection.fetch(counts)}
    return {table["name"]: rows[number] for number, table in enumerate(tables)}


async def extensions(connection: Connection) -> dict[str, str]:
    """The extensions on whose functions or types something in this database depends, with their schemas."""
    return {row["extname"]: row["nspname"] for row in await connection.fetch(_EXTENSIONS)}


def differences(expected: Mapping[str, int], found: Mapping[str, int]) -> list[str]:
    """A sentence for each table that has another number of rows than it has to."""
    return [
        f"{name} has {found.get(name, 0)} rows instead of {expected.get(name, 0)}"
        for name in sorted({*expected, *found})
        if expected.get(name, 0) != found.get(name, 0)
    ]
