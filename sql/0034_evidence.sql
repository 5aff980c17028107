-- What resolvers, and wallets that dispute an outcome, give as reasons. The chain has the content id of a
-- resolution's evidence, and nothing of a dispute's; an early resolution says why it is early.

create table public.evidence (
    market_id zmartd.market_id not null references public.markets (id),
    user_wallet zmartd.address not null,
    kind text not null check (kind in ('resolution', 'dispute')),
    cid text not null check (cid ~ '^Qm[1-9A-HJ-NP-Za-km-z]{44}$'),
    -- The exact bytes that `cid` is the content id of; NULL where the wallet keeps them elsewhere.
    document bytea check (octet_length(document) <= 65536),
    early_reason text check (char_length(early_reason) between 10 and 2000),
    created_at timestamptz not null default now(),
    primary key (market_id, user_wallet, kind, cid),
    check (document is not null or kind = 'resolution')
);
create index evidence_by_cid on public.evidence (cid) where document is not null;
comment on table public.evidence is
    'What was handed in with a transaction to sign. What belongs to one that landed is shown with the market.';

alter table public.evidence enable row level security;
alter table public.evidence force row level security;
revoke all on public.evidence from public, anon, authenticated;
grant select, insert, update, delete on public.evidence to service_role;
create policy service on public.evidence to service_role using (true) with check (true);
grant select on public.evidence to anon, authenticated;
create policy public_read on public.evidence for select to anon, authenticated using (true);
grant insert (market_id, user_wallet, kind, cid, document, early_reason) on public.evidence to authenticated;
-- The resolution's is handed in by the daemon, which knows the trusted resolvers.
create policy own_insert on public.evidence for insert to authenticated
    with check (
        user_wallet = (select zmartd.caller_wallet())
        and kind = 'dispute'
        and exists (
            select from public.markets as market
            where market.id = evidence.market_id and market.state = 'DISPUTED'
                and market.dispute_initiator = evidence.user_wallet
        )
    );
