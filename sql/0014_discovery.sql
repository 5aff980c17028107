-- Finding markets: by the words of all their texts, by what happened lately, and by how their price moved.

-- array_to_string is only stable, for arrays of things whose text depends on settings. That of text does not.
create function zmartd.words(texts text[]) returns text
    language sql immutable parallel safe
    return array_to_string(texts, ' ');

alter table public.markets drop column search;
alter table public.markets add column search tsvector generated always as (
    setweight(to_tsvector('english', question), 'A')
    || setweight(to_tsvector('english', zmartd.words(tags)), 'B')
    || setweight(to_tsvector('english', description), 'C')
) stored;
create index markets_by_text on public.markets using gin (search);

-- Those whose creation was undone are in no list.
create index markets_listed_newest on public.markets (created_at desc, id desc) where not orphaned;
create index markets_by_end on public.markets (end_date, id) where not orphaned and end_date is not null;
create index markets_by_finalization on public.markets (finalized_at desc, id desc) where state = 'FINALIZED';
drop index public.markets_newest;
drop index public.markets_active_by_end;

create index trades_by_market_time on public.trades (market_id, block_time desc);

create function zmartd.newest_time() returns timestamptz
    language sql stable parallel safe
    as $$ select greatest(now(), (select max(block_time) from public.trades)) $$;
comment on function zmartd.newest_time() is
    'What periods that end now go back from: the chain can be ahead of this clock, where its own was moved.';
