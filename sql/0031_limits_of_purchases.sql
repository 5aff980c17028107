-- The least shares that a relayed purchase has to bring. The program has no such limit, so whoever sends the transaction
-- keeps it: also a daemon that finds it here.
alter table public.outbox_transactions add column min_shares zmartd.u64;
