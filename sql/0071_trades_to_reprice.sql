-- Trades whose price follows from one that came late are priced anew in the background, few at a time.

-- The first slot of which that is still to be done; NULL where every trade is priced.
alter table public.markets add column reprice_from bigint;
-- How far back from the present the outstanding shares are known: those before this slot are the next two. NULL: not begun.
alter table public.markets add column reprice_before bigint;
alter table public.markets add column reprice_shares_yes numeric;
alter table public.markets add column reprice_shares_no numeric;
comment on column public.markets.reprice_from is
    'The first slot whose trades the indexer is still to price anew in the background; NULL if there are none.';
