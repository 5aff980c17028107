"""Access to Postgres: nothing here knows a table.

`database` opens transactions and readers in a role, over connections that `pool` lends and `connection`
opens. `rls` defines the roles and claims, `reader` runs single reads in one round trip, `errors` explains a
database that cannot be used, and `migrations` applies `sql/`.
"""
