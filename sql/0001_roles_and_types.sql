-- Roles, types and helpers that every table relies on.
--
-- The three roles are Supabase's: used as they are where they exist, created without a login where they do
-- not. The daemon's login role switches to one of them in each transaction.

DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['anon', 'authenticated', 'service_role'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN NOINHERIT', role_name);
        END IF;
        BEGIN
            EXECUTE format('GRANT %I TO CURRENT_USER', role_name);
        EXCEPTION
            -- A role that somebody else administers: an administrator has to grant it to the daemon's login.
            WHEN insufficient_privilege THEN NULL;
        END;
    END LOOP;
END
$$;

CREATE SCHEMA IF NOT EXISTS zmartd;
COMMENT ON SCHEMA zmartd IS 'Types and functions of zmartd; its tables are in public.';
GRANT USAGE ON SCHEMA zmartd TO anon, authenticated, service_role;
GRANT USAGE ON SCHEMA public TO anon, authenticated, service_role;

CREATE DOMAIN zmartd.u64 AS numeric(20, 0)
    CONSTRAINT u64_range CHECK (VALUE BETWEEN 0 AND 18446744073709551615);
COMMENT ON DOMAIN zmartd.u64 IS 'Lamports, or shares with nine decimals. BIGINT cannot hold them all.';

CREATE DOMAIN zmartd.address AS text
    CONSTRAINT address_is_base58 CHECK (VALUE ~ '^[1-9A-HJ-NP-Za-km-z]{32,44}$');
COMMENT ON DOMAIN zmartd.address IS 'A wallet or account of the chain. A wallet needs no row in users to trade or vote.';

CREATE DOMAIN zmartd.market_id AS text
    CONSTRAINT market_id_is_hex CHECK (VALUE ~ '^[0-9a-f]{64}$');

CREATE DOMAIN zmartd.signature AS text
    CONSTRAINT signature_is_base58 CHECK (VALUE ~ '^[1-9A-HJ-NP-Za-km-z]{64,88}$');

CREATE DOMAIN zmartd.price AS numeric(18, 9)
    CONSTRAINT price_range CHECK (VALUE BETWEEN 0 AND 1);

CREATE DOMAIN zmartd.commitment AS text
    CONSTRAINT commitment_name CHECK (VALUE IN ('confirmed', 'finalized'));

CREATE DOMAIN zmartd.market_state AS text
    CONSTRAINT market_state_name CHECK (
        VALUE IN ('PROPOSED', 'APPROVED', 'ACTIVE', 'RESOLVING', 'DISPUTED', 'FINALIZED', 'CANCELLED')
    );

CREATE DOMAIN zmartd.category AS text
    CONSTRAINT category_name CHECK (
        VALUE IN ('crypto', 'politics', 'sports', 'technology', 'finance', 'science', 'entertainment', 'other')
    );

CREATE DOMAIN zmartd.vote_kind AS text CONSTRAINT vote_kind_name CHECK (VALUE IN ('proposal', 'dispute'));

CREATE FUNCTION zmartd.caller_wallet() RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
        SELECT coalesce(claims ->> 'walletAddress', claims ->> 'sub')
        FROM (SELECT nullif(current_setting('request.jwt.claims', true), '')::jsonb) AS request (claims)
    $$;
COMMENT ON FUNCTION zmartd.caller_wallet() IS 'The wallet that signed in to make this request; NULL for anonymous ones.';

CREATE FUNCTION zmartd.masked(address text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN left(address, 4) || '…' || right(address, 4);
COMMENT ON FUNCTION zmartd.masked(text) IS 'What anonymous callers see of a wallet: stable, so that they can group by it.';

CREATE FUNCTION zmartd.touch_updated_at() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    BEGIN
        NEW.updated_at := now();
        RETURN NEW;
    END
    $$;
