"""The index: what the program's transactions come to in the database.

`apply` is the only way in. `inbox` applies what the webhook delivers, `fetch` what is read from an RPC node.
Below them are `events` (event rows), `effects` (what events change) and `rebuild` (rollbacks and replacements
of event rows). Above them the index is kept equal to the chain: `walks` over signatures, the `audit` against
accounts, `truncation` of logs, and on top `reconcile`, `repair` and `replay`.

apply        record the events of transactions and their effects, in one database transaction
rebuild      derive a market's rows again from its event rows in the database
rollback     remove the events of transactions that are not on the chain, and rebuild their markets
replacement  replace event rows that differ from the chain, and rebuild their markets
backfill     fetch and apply what the index lacks of a range of signatures
recovery     infer the events that truncated logs lack, apply them, and verify the result
reconcile    run periodically: missing transactions, finality, reorgs, truncated logs
resync       fetch all transactions of one market, and replace the event rows that differ
repair       resync the markets in which an audit finds a difference: the operator's command
replay       apply the whole history to an empty database, and compare checksums
"""
