"""Access to Postgres: nothing here knows a table.

`database` opens transactions and readers in a role, over connections that `pool` lends and `connection`
opens. `rls` defines the roles and claims, `reader` runs single reads, `backend` says what is sent before a
statement, with a backend of one's own and with a shared one, and `pooling` finds out which it is. `errors`
explains a database that cannot be used, `pooler` what poolers say when they refuse, and `migrations` applies
`sql/`.
"""
