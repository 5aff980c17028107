-- Votes cast through the API or on the chain. The first vote of a wallet is the one that counts.
create table public.proposal_votes (
    market_id zmartd.market_id not null references public.markets (id),
    user_wallet zmartd.address not null,
    vote boolean not null,
    voted_at timestamptz not null default now(),
    source text not null default 'api' check (source in ('api', 'chain')),
    tx_signature zmartd.signature,
    primary key (market_id, user_wallet),
    constraint chain_votes_have_a_signature check ((source = 'chain') = (tx_signature is not null))
);

create index proposal_votes_by_market on public.proposal_votes (market_id, vote);
create index proposal_votes_by_wallet on public.proposal_votes (user_wallet, voted_at desc);

create table public.dispute_votes (like public.proposal_votes including all);
alter table public.dispute_votes add foreign key (market_id) references public.markets (id);

-- The counts that are on their way to the chain. While a row is here, votes of that kind are closed: nobody's
-- vote may be accepted and then left out.
create table public.vote_tallies (
    market_id zmartd.market_id not null references public.markets (id),
    kind zmartd.vote_kind not null,
    yes bigint not null check (yes >= 0),
    no bigint not null check (no >= 0),
    taken_at timestamptz not null default now(),
    signature zmartd.signature,
    primary key (market_id, kind)
);

-- Holders who ask for a dispute. When enough of them do, the backend authority opens it.
create table public.dispute_requests (
    market_id zmartd.market_id not null references public.markets (id),
    user_wallet zmartd.address not null,
    requested_at timestamptz not null default now(),
    primary key (market_id, user_wallet)
);

create function zmartd.lock_votes(market_id text, kind text) returns void
    language sql
    as $$ select pg_advisory_xact_lock(hashtextextended(kind || ':' || market_id, 7)) $$;
comment on function zmartd.lock_votes(text, text) is
    'Waits for votes that are being cast and keeps new ones waiting until the transaction ends.';

-- Votes through the API are taken only while the market asks for them and their count is not being recorded.
-- Votes from the chain were checked by the program.
create function zmartd.refuse_closed_vote() returns trigger
    language plpgsql
    as $$
    declare
        asked_kind constant text := tg_argv[0];
        open_state constant text := tg_argv[1];
        found_state text;
    begin
        if new.source <> 'api' then
            return new;
        end if;
        perform pg_advisory_xact_lock_shared(hashtextextended(asked_kind || ':' || new.market_id, 7));
        select state into found_state from public.markets where id = new.market_id;
        if found_state is distinct from open_state then
            raise exception using
                errcode = 'ZM001',
                message = format(
                    '%s votes are closed: the market is %s', asked_kind, coalesce(found_state, 'unknown')
                ),
                detail = coalesce(found_state, '');
        end if;
        if exists (select from public.vote_tallies as tally
                   where tally.market_id = new.market_id and tally.kind = asked_kind) then
            raise exception using
                errcode = 'ZM002',
                message = format('%s votes are closed: they are being counted', asked_kind);
        end if;
        return new;
    end
    $$;

create trigger proposal_votes_open before insert on public.proposal_votes
    for each row execute function zmartd.refuse_closed_vote('proposal', 'PROPOSED');
create trigger dispute_votes_open before insert on public.dispute_votes
    for each row execute function zmartd.refuse_closed_vote('dispute', 'DISPUTED');
