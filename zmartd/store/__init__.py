"""What the daemon keeps in Postgres.

`postgres` has the connections, transactions, row level security and migrations. Each other module is about
one resource: its SQL, its rows as frozen structs, and functions that run that SQL over the connection that
they are given. They open no transaction themselves, so that a caller decides what belongs to one. Functions
that only read take `Reads`, which a reader and a connection both satisfy; those that write take a Connection.

The docstrings name the role that a function needs: a service transaction or reader, that of one wallet, or
that of the caller whose answer it is. The tables that only the indexer writes have their SQL in
`zmartd.indexer`.
"""
