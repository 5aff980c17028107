-- Whose transaction it is: the wallet that signed it and pays for it. Null for one of the daemon's own.
alter table public.outbox_transactions add column relayed_for zmartd.address;

-- How many a wallet has under way, and what has been settled for longer than it is kept.
create index outbox_pending_of_wallet on public.outbox_transactions (relayed_for)
    where status = 'pending' and relayed_for is not null;
create index outbox_settled on public.outbox_transactions (settled_at) where status <> 'pending';
