-- What the authority's transactions are meant to do: one transaction may serve several markets, and what is meant
-- for a market has one transaction at a time.

create table public.transaction_intents (
    signature zmartd.signature not null references public.outbox_transactions (signature) on delete cascade,
    market_id zmartd.market_id not null,
    purpose text not null,
    -- Which passage of the market's life it is about, as the account told it; empty for transactions from before
    -- this table, of which that is not known.
    round text not null,
    -- SHA-256 of the instructions for this market; NULL where that is not known.
    effect bytea check (octet_length(effect) = 32),
    -- False once another transaction has taken its place.
    is_current boolean not null default true,
    created_at timestamptz not null default now(),
    primary key (signature, market_id)
);
comment on table public.transaction_intents is
    'Which markets a transaction of the authority is for, for which purpose, and in which round.';

create unique index transaction_intents_once on public.transaction_intents (market_id, purpose, round)
    where is_current;
create index transaction_intents_of_market on public.transaction_intents (market_id, purpose, created_at desc);

alter table public.transaction_intents enable row level security;
alter table public.transaction_intents force row level security;
revoke all on public.transaction_intents from public, anon, authenticated;
grant select, insert, update, delete on public.transaction_intents to service_role;
create policy service on public.transaction_intents to service_role using (true) with check (true);

set local role service_role;
insert into public.transaction_intents (signature, market_id, purpose, round, is_current, created_at)
select signature, market_id, purpose, '',
       row_number() over (partition by market_id, purpose order by created_at desc, signature) = 1, created_at
  from public.outbox_transactions where market_id is not null;
reset role;

drop index public.outbox_of_market;
alter table public.outbox_transactions drop column market_id;
