-- zmartd: concurrently
-- The markets of which trades are still to be priced anew: few or none.
create index concurrently if not exists markets_to_reprice on public.markets (id) where reprice_from is not null;
