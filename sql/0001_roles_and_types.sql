-- Roles, types and helpers that every table relies on.
--
-- The three roles are Supabase's: used as they are where they exist, created without a login where they do
-- not. The daemon's login role switches to one of them in each transaction.

do $$
declare
    version constant integer := current_setting('server_version_num');
    role_name text;
begin
    foreach role_name in array array['anon', 'authenticated', 'service_role'] loop
        if not exists (select from pg_roles where rolname = role_name) then
            execute format('create role %I nologin noinherit', role_name);
        end if;
        continue when pg_has_role(role_name, case when version >= 160000 then 'set' else 'member' end);
        begin
            -- Not inherited, where Postgres can do that: a transaction that took no role sees nothing.
            execute format('grant %I to current_user', role_name)
                || case when version >= 160000 then ' with inherit false' else '' end;
        exception
            -- Somebody else administers the role, and has to grant it to the daemon's login.
            when insufficient_privilege then null;
        end;
    end loop;
end
$$;

create schema if not exists zmartd;
comment on schema zmartd is 'Types and functions of zmartd; its tables are in public.';
grant usage on schema zmartd to anon, authenticated, service_role;
grant usage on schema public to anon, authenticated, service_role;

create domain zmartd.u64 as numeric(20, 0)
    constraint u64_range check (value between 0 and 18446744073709551615);
comment on domain zmartd.u64 is 'Lamports, or shares with nine decimals. BIGINT cannot hold them all.';

create domain zmartd.address as text
    constraint address_is_base58 check (value ~ '^[1-9A-HJ-NP-Za-km-z]{32,44}$');
comment on domain zmartd.address is 'A wallet or account of the chain. A wallet needs no row in users to trade or vote.';

create domain zmartd.market_id as text
    constraint market_id_is_hex check (value ~ '^[0-9a-f]{64}$');

create domain zmartd.signature as text
    constraint signature_is_base58 check (value ~ '^[1-9A-HJ-NP-Za-km-z]{64,88}$');

create domain zmartd.price as numeric(18, 9)
    constraint price_range check (value between 0 and 1);

create domain zmartd.commitment as text
    constraint commitment_name check (value in ('confirmed', 'finalized'));

create domain zmartd.market_state as text
    constraint market_state_name check (
        value in ('PROPOSED', 'APPROVED', 'ACTIVE', 'RESOLVING', 'DISPUTED', 'FINALIZED', 'CANCELLED')
    );

create domain zmartd.category as text
    constraint category_name check (
        value in ('crypto', 'politics', 'sports', 'technology', 'finance', 'science', 'entertainment', 'other')
    );

create domain zmartd.vote_kind as text constraint vote_kind_name check (value in ('proposal', 'dispute'));

create function zmartd.caller_wallet() returns text
    language sql stable parallel safe
    as $$
        select coalesce(claims ->> 'walletAddress', claims ->> 'sub')
        from (select nullif(current_setting('request.jwt.claims', true), '')::jsonb) as request (claims)
    $$;
comment on function zmartd.caller_wallet() is 'The wallet that signed in to make this request; NULL for anonymous ones.';

create function zmartd.masked(address text) returns text
    language sql immutable parallel safe
    return left(address, 4) || '…' || right(address, 4);
comment on function zmartd.masked(text) is 'What anonymous callers see of a wallet: stable, so that they can group by it.';

create function zmartd.touch_updated_at() returns trigger
    language plpgsql
    as $$
    begin
        new.updated_at := now();
        return new;
    end
    $$;
