-- What subscribers are told of a market, or of a wallet, is a stream: messages numbered without gaps in the
-- transaction that commits what they tell of. A daemon that a message did not reach reads it here.

create table public.streams (
    id bigint primary key generated always as identity,
    -- `market:{id}` or `user:{wallet}`.
    name text not null unique check (name ~ '^(market:[0-9a-f]{64}|user:[1-9A-HJ-NP-Za-km-z]{32,44})$'),
    -- The number of its newest message.
    seq bigint not null check (seq > 0)
) with (fillfactor = 50);
comment on table public.streams is 'The streams of markets and of wallets, and how many messages each has had.';

create table public.stream_messages (
    -- Of public.streams. A foreign key would cost a query for each message, and streams are never deleted.
    stream_id bigint not null,
    seq bigint not null check (seq > 0),
    -- The message as JSON, without its number.
    body bytea not null check (octet_length(body) <= 65536),
    committed_by xid8 not null default pg_current_xact_id(),
    created_at timestamptz not null default now(),
    primary key (stream_id, seq)
);
-- What may have been committed since a daemon last looked: all from the oldest transaction that then ran.
create index stream_messages_committed_by on public.stream_messages (committed_by);
comment on table public.stream_messages is
    'The messages of streams, for as long as a client may resume: realtime.history_seconds.';

-- Numbers mean something only within one history of one database. What restores a copy, goes back in time or
-- promotes a replica begins another one. The newest row is the present epoch.
create table public.stream_epochs (
    number bigint primary key generated always as identity,
    id text not null unique check (id ~ '^[0-9a-f]{16}$'),
    database text not null
);
comment on table public.stream_epochs is
    'The epochs of all positions in streams, and the database in which each began: zmartd.this_database().';

create function zmartd.this_database() returns text
    language sql stable set search_path = pg_catalog
    return (
        select control.system_identifier::text || '/' || database.oid::text || '/'
            || case when pg_is_in_recovery() then '' else substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) end
          from pg_control_system() as control, pg_database as database
         where database.datname = current_database()
    );
comment on function zmartd.this_database() is
    'Tells one history of one database from others: its cluster, its database and its timeline.';

create function zmartd.stream_epoch() returns text
    language sql stable set search_path = pg_catalog, public
    return (select id from public.stream_epochs order by number desc limit 1);
comment on function zmartd.stream_epoch() is 'The present epoch of all positions in streams.';

create function zmartd.stream_position(market zmartd.market_id) returns text
    language sql stable set search_path = pg_catalog, public
    return zmartd.stream_epoch() || ':' || coalesce(
        (select stream.seq from public.streams as stream where stream.name = 'market:' || market), 0);
comment on function zmartd.stream_position(zmartd.market_id) is
    'How far a market''s stream has come, for an answer that shows the market as it is then: epoch:seq.';

do $$
declare
    relation text;
begin
    foreach relation in array array['streams', 'stream_messages', 'stream_epochs'] loop
        execute format('alter table public.%I enable row level security', relation);
        execute format('alter table public.%I force row level security', relation);
        execute format('revoke all on public.%I from public, anon, authenticated', relation);
        execute format('grant select, insert, update, delete on public.%I to service_role', relation);
        execute format('create policy service on public.%I to service_role using (true) with check (true)',
                       relation);
    end loop;
end
$$;
-- Positions of markets are public, and each wallet's own are its own.
grant select on public.streams, public.stream_epochs to anon, authenticated;
create policy public_read on public.streams for select to anon, authenticated
    using (name like 'market:%' or name = 'user:' || (select zmartd.caller_wallet()));
create policy public_read on public.stream_epochs for select to anon, authenticated using (true);

set local role service_role;
insert into public.stream_epochs (id, database)
values (substr(md5(gen_random_uuid()::text), 1, 16), zmartd.this_database());
reset role;
