-- Votes are counted in bounded steps, however many there are. What a run has found out about voters is kept here, so
-- that the next one goes on, and goes with the tally that keeps the votes closed.

create table public.voter_checks (
    market_id zmartd.market_id not null,
    kind zmartd.vote_kind not null,
    -- Of a proposal: the node was asked about the voters up to this one, by their addresses.
    asked_to zmartd.address,
    is_complete boolean not null default false,
    -- How often the node was asked for this count: whose votes took the fewest requests are gone on with first.
    requests bigint not null default 0,
    primary key (market_id, kind),
    foreign key (market_id, kind) references public.vote_tallies on delete cascade
);

create table public.voter_balances (
    market_id zmartd.market_id not null,
    kind zmartd.vote_kind not null default 'proposal' check (kind = 'proposal'),
    user_wallet zmartd.address not null,
    -- Balances are read for the last time in this order, which nobody can know before.
    place uuid not null default gen_random_uuid(),
    -- Whether the wallet had the least balance when it was read for the last time; NULL before that.
    holds boolean,
    primary key (market_id, user_wallet),
    foreign key (market_id, kind) references public.voter_checks on delete cascade
);
create index voter_balances_unread on public.voter_balances (market_id, place) where holds is null;
comment on table public.voter_balances is
    'Voters on a proposal that have never traded and had the least balance when the node was asked first.';

create table public.verified_voters (
    market_id zmartd.market_id not null,
    kind zmartd.vote_kind not null default 'dispute' check (kind = 'dispute'),
    user_wallet zmartd.address not null,
    on_chain boolean not null,
    vote boolean not null,
    shares_yes numeric not null,
    shares_no numeric not null,
    total_invested numeric not null,
    trades_count bigint not null,
    primary key (market_id, user_wallet),
    foreign key (market_id, kind) references public.vote_tallies on delete cascade
);
comment on table public.verified_voters is
    'What the index had of a voter on a dispute when the chain had the same. A vote counts while it still has that.';

alter table public.voter_checks enable row level security;
alter table public.voter_checks force row level security;
revoke all on public.voter_checks from public, anon, authenticated;
grant select, insert, update, delete on public.voter_checks to service_role;
create policy service on public.voter_checks to service_role using (true) with check (true);

alter table public.voter_balances enable row level security;
alter table public.voter_balances force row level security;
revoke all on public.voter_balances from public, anon, authenticated;
grant select, insert, update, delete on public.voter_balances to service_role;
create policy service on public.voter_balances to service_role using (true) with check (true);

alter table public.verified_voters enable row level security;
alter table public.verified_voters force row level security;
revoke all on public.verified_voters from public, anon, authenticated;
grant select, insert, update, delete on public.verified_voters to service_role;
create policy service on public.verified_voters to service_role using (true) with check (true);

-- A proposal is due by counts alone: of its likes, and of the dislikes of wallets that have traded.
alter table public.proposal_votes add column by_trader boolean not null default false;
comment on column public.proposal_votes.by_trader is
    'True only if the wallet has traded. It may be false for one that first traded while it voted.';

create function zmartd.note_trader() returns trigger
    language plpgsql
    as $$
    begin
        new.by_trader := exists (
            select from public.user_positions as held
             where held.user_wallet = new.user_wallet and held.trades_count > 0
        );
        return new;
    end
    $$;
create trigger note_trader before insert on public.proposal_votes
    for each row execute function zmartd.note_trader();

create function zmartd.renote_trader() returns trigger
    language plpgsql
    as $$
    declare
        wallet constant text := case tg_op when 'DELETE' then old.user_wallet else new.user_wallet end;
    begin
        if exists (select from public.user_positions as held
                    where held.user_wallet = wallet and held.trades_count > 0) then
            -- What another transaction holds is left as it is: nobody waits here, and false is never wrong.
            update public.proposal_votes as noted set by_trader = true
              from (select market_id from public.proposal_votes
                     where user_wallet = wallet and not by_trader for update skip locked) as other
             where noted.market_id = other.market_id and noted.user_wallet = wallet;
        else
            update public.proposal_votes set by_trader = false where user_wallet = wallet and by_trader;
        end if;
        return null;
    end
    $$;
create trigger first_trade after insert on public.user_positions
    for each row when (new.trades_count > 0) execute function zmartd.renote_trader();
create trigger first_or_no_trade after update of trades_count on public.user_positions
    for each row when ((old.trades_count > 0) <> (new.trades_count > 0)) execute function zmartd.renote_trader();
create trigger no_trade after delete on public.user_positions
    for each row when (old.trades_count > 0) execute function zmartd.renote_trader();

set local role service_role;
update public.proposal_votes as vote set by_trader = true
 where exists (select from public.user_positions as held
                where held.user_wallet = vote.user_wallet and held.trades_count > 0);
reset role;

create index proposal_votes_counted on public.proposal_votes (market_id, vote, by_trader);
drop index public.proposal_votes_by_market;
