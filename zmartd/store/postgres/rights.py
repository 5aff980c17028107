"""What a database's login needs before the first migration, and the SQL with which an administrator gives it.

A login that owns its database and nothing else cannot create the roles that migrations grant rights to, and
cannot act as them unless somebody grants it that.
"""

from __future__ import annotations

from collections.abc import Sequence

from asyncpg import Connection
from msgspec import Struct

from zmartd.errors import ZmartdError
from zmartd.store.postgres.rls import ANONYMOUS, AUTHENTICATED, SERVICE

ROLES = (ANONYMOUS, AUTHENTICATED, SERVICE)
NEW_INHERITANCE = 160_000
"""Since this version of Postgres it is said for each grant whether its rights are inherited, and a role with
CREATEROLE administers only the roles that it has created."""

_LOGIN = """
select quote_ident(current_user) as login,
       quote_ident(current_database()) as database,
       current_setting('server_version_num')::int as version,
       rolsuper as is_superuser,
       rolcreaterole as may_create_roles,
       has_database_privilege(current_database(), 'CREATE') as may_create_schemas,
       to_regnamespace('public') is not null
           and has_schema_privilege('public', 'CREATE') as may_create_tables,
       array(select distinct quote_ident(pg_get_userbyid(relowner)) from pg_class
              where relnamespace in (to_regnamespace('public'), to_regnamespace('zmartd'))
                and relkind in ('r', 'p', 'v') and not pg_has_role(relowner, 'MEMBER')
                and not exists (select from pg_depend where objid = pg_class.oid and deptype = 'e')) as owners
  from pg_roles where rolname = current_user
"""
_ROLES = """
select rolname as name,
       pg_has_role(oid, case when current_setting('server_version_num')::int >= 160000
                             then 'SET' else 'MEMBER' end) as may_act,
       pg_has_role(oid, 'MEMBER WITH ADMIN OPTION') as may_grant,
       rolsuper or rolbypassrls as sees_everything,
       to_regnamespace('public') is null or has_schema_privilege(oid, 'public', 'USAGE') as uses_public
  from pg_roles where rolname = any($1)
"""


class Lack(Struct, frozen=True):
    """Something that the login or a role lacks, or has and must not. `sql` is for an administrator."""

    cause: str
    sql: str
    is_for_migrations: bool = False
    """Whether daemons do without."""


class RightsMissing(ZmartdError):
    """The login of database.url lacks rights that migrations need; an administrator has to give them."""

    code = "rights_missing"


async def lacking(connection: Connection) -> list[Lack]:
    """What is missing for migrations and for the daemon; empty where all is well."""
    login = await connection.fetchrow(_LOGIN)
    assert login is not None, "the login is a role"
    roles = {row["name"]: row for row in await connection.fetch(_ROLES, list(ROLES))}
    name, found = login["login"], []
    absent = [role for role in ROLES if role not in roles]
    if absent and not (login["is_superuser"] or login["may_create_roles"]):
        found.append(
            Lack(
                f"the roles {', '.join(absent)} are not there, and {name} may not create them",
                " ".join(f"CREATE ROLE {role} NOLOGIN NOINHERIT;" for role in absent),
            )
        )
    creates = login["is_superuser"] or login["may_create_roles"]
    administers_all = login["is_superuser"] or (
        login["may_create_roles"] and login["version"] < NEW_INHERITANCE
    )
    foreign = [
        role
        for role in ROLES
        if not administers_all
        and (not roles[role]["may_act"] and not roles[role]["may_grant"] if role in roles else not creates)
    ]
    if foreign:
        inherit = " WITH INHERIT FALSE" if login["version"] >= NEW_INHERITANCE else ""
        found.append(
            Lack(
                f"{name} may not act as {', '.join(foreign)}",
                f"GRANT {', '.join(foreign)} TO {name}{inherit};",
            )
        )
    if not login["may_create_schemas"]:
        database = login["database"]
        found.append(
            Lack(
                f"{name} may not create a schema in {database}",
                f"GRANT CREATE ON DATABASE {database} TO {name};",
                is_for_migrations=True,
            )
        )
    if not login["may_create_tables"]:
        found.append(
            Lack(
                f"{name} may not create tables in the schema public",
                f"CREATE SCHEMA IF NOT EXISTS public; GRANT USAGE, CREATE ON SCHEMA public TO {name};",
                is_for_migrations=True,
            )
        )
    blind = [role for role in ROLES if role in roles and not roles[role]["uses_public"]]
    if blind:
        found.append(
            Lack(
                f"{', '.join(blind)} may not use the schema public",
                f"GRANT USAGE ON SCHEMA public TO {', '.join(blind)};",
            )
        )
    if login["owners"]:
        owners = ", ".join(login["owners"])
        found.append(
            Lack(
                f"some of the tables belong to {owners}, so {name} cannot change them",
                f"GRANT {owners} TO {name};",
                is_for_migrations=True,
            )
        )
    return found + _unguarded(
        [role for role in (ANONYMOUS, AUTHENTICATED) if role in roles and roles[role]["sees_everything"]]
    )


async def other_owners(connection: Connection) -> str:
    """Whose tables they are, where the login neither owns them nor may create a schema: others migrate."""
    login = await connection.fetchrow(_LOGIN)
    assert login is not None, "the login is a role"
    return "" if login["may_create_schemas"] else ", ".join(login["owners"])


def _unguarded(roles: Sequence[str]) -> list[Lack]:
    return [
        Lack(
            f"{role} is not subject to row level security, so every caller would see everybody's rows",
            f"ALTER ROLE {role} NOSUPERUSER NOBYPASSRLS;",
        )
        for role in roles
    ]


async def require_rights(connection: Connection, where: str) -> None:
    """Raises RightsMissing with all that is lacking and with the SQL. `where` names the database."""
    lacks = await lacking(connection)
    if lacks:
        causes = "; ".join(lack.cause for lack in lacks)
        raise RightsMissing(
            f"nothing was changed in {where}, since the migrations would stop half way: {causes}. As an "
            "administrator of this database run\n" + "\n".join(lack.sql for lack in lacks)
        )
