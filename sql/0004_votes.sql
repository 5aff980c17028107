-- Votes cast through the API or on the chain. The first vote of a wallet is the one that counts.
CREATE TABLE public.proposal_votes (
    market_id zmartd.market_id NOT NULL REFERENCES public.markets (id),
    user_wallet zmartd.address NOT NULL,
    vote boolean NOT NULL,
    voted_at timestamptz NOT NULL DEFAULT now(),
    source text NOT NULL DEFAULT 'api' CHECK (source IN ('api', 'chain')),
    tx_signature zmartd.signature,
    PRIMARY KEY (market_id, user_wallet),
    CONSTRAINT chain_votes_have_a_signature CHECK ((source = 'chain') = (tx_signature IS NOT NULL))
);

CREATE INDEX proposal_votes_by_market ON public.proposal_votes (market_id, vote);
CREATE INDEX proposal_votes_by_wallet ON public.proposal_votes (user_wallet, voted_at DESC);

CREATE TABLE public.dispute_votes (LIKE public.proposal_votes INCLUDING ALL);
ALTER TABLE public.dispute_votes ADD FOREIGN KEY (market_id) REFERENCES public.markets (id);

-- The counts that are on their way to the chain. While a row is here, votes of that kind are closed: nobody's
-- vote may be accepted and then left out.
CREATE TABLE public.vote_tallies (
    market_id zmartd.market_id NOT NULL REFERENCES public.markets (id),
    kind zmartd.vote_kind NOT NULL,
    yes bigint NOT NULL CHECK (yes >= 0),
    no bigint NOT NULL CHECK (no >= 0),
    taken_at timestamptz NOT NULL DEFAULT now(),
    signature zmartd.signature,
    PRIMARY KEY (market_id, kind)
);

-- Holders who ask for a dispute. When enough of them do, the backend authority opens it.
CREATE TABLE public.dispute_requests (
    market_id zmartd.market_id NOT NULL REFERENCES public.markets (id),
    user_wallet zmartd.address NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (market_id, user_wallet)
);

CREATE FUNCTION zmartd.lock_votes(market_id text, kind text) RETURNS void
    LANGUAGE sql
    AS $$ SELECT pg_advisory_xact_lock(hashtextextended(kind || ':' || market_id, 7)) $$;
COMMENT ON FUNCTION zmartd.lock_votes(text, text) IS
    'Waits for votes that are being cast and keeps new ones waiting until the transaction ends.';

-- Votes through the API are taken only while the market asks for them and their count is not being recorded.
-- Votes from the chain were checked by the program.
CREATE FUNCTION zmartd.refuse_closed_vote() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    DECLARE
        asked_kind CONSTANT text := TG_ARGV[0];
        open_state CONSTANT text := TG_ARGV[1];
        found_state text;
    BEGIN
        IF NEW.source <> 'api' THEN
            RETURN NEW;
        END IF;
        PERFORM pg_advisory_xact_lock_shared(hashtextextended(asked_kind || ':' || NEW.market_id, 7));
        SELECT state INTO found_state FROM public.markets WHERE id = NEW.market_id;
        IF found_state IS DISTINCT FROM open_state THEN
            RAISE EXCEPTION USING
                ERRCODE = 'ZM001',
                MESSAGE = format('%s votes are closed: the market is %s', asked_kind, coalesce(found_state, 'unknown')),
                DETAIL = coalesce(found_state, '');
        END IF;
        IF EXISTS (SELECT FROM public.vote_tallies AS tally
                   WHERE tally.market_id = NEW.market_id AND tally.kind = asked_kind) THEN
            RAISE EXCEPTION USING
                ERRCODE = 'ZM002',
                MESSAGE = format('%s votes are closed: they are being counted', asked_kind);
        END IF;
        RETURN NEW;
    END
    $$;

CREATE TRIGGER proposal_votes_open BEFORE INSERT ON public.proposal_votes
    FOR EACH ROW EXECUTE FUNCTION zmartd.refuse_closed_vote('proposal', 'PROPOSED');
CREATE TRIGGER dispute_votes_open BEFORE INSERT ON public.dispute_votes
    FOR EACH ROW EXECUTE FUNCTION zmartd.refuse_closed_vote('dispute', 'DISPUTED');
