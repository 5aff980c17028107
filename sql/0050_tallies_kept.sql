-- A tally stays to be read with what it was held to and the transaction that recorded it, once its market has moved
-- on: those of disputes have, in settled_disputes, and those of proposals get a table.

alter table public.vote_tallies
    add column threshold_bps integer,
    add column min_votes integer,
    add column quorum_bps integer,
    add column decided_by text check (decided_by in ('votes', 'admin'));
comment on column public.vote_tallies.decided_by is
    'With the three columns before it: what `signature` carries out, and by which rule. NULL before that.';

alter table public.settled_disputes
    add column threshold_bps integer,
    add column quorum_bps integer,
    add column decided_by text check (decided_by in ('votes', 'admin')),
    add column signature zmartd.signature;

create table public.settled_proposals (
    market_id zmartd.market_id primary key references public.markets (id),
    yes bigint not null,
    no bigint not null,
    not_counted bigint not null,
    counted_at timestamptz not null,
    threshold_bps integer,
    min_votes integer,
    decided_by text check (decided_by in ('votes', 'admin')),
    signature zmartd.signature
);
comment on table public.settled_proposals is
    'The counted votes of proposals whose market has moved on, as vote_tallies had them.';

alter table public.settled_proposals enable row level security;
alter table public.settled_proposals force row level security;
revoke all on public.settled_proposals from public, anon, authenticated;
grant select, insert, update, delete on public.settled_proposals to service_role;
create policy service on public.settled_proposals to service_role using (true) with check (true);
grant select on public.settled_proposals to anon, authenticated;
create policy public_read on public.settled_proposals for select to anon, authenticated using (true);
