-- Which registered questions look the same to a reader: two hashes, of which twins have one in common.
--
-- They are computed outside of the database, from the table of UTS 39; `zmartd migrate` computes those of the
-- questions that are here already. A newer table comes with a migration that sets them all to null.

alter table public.market_metadata add column likeness bytea[];
comment on column public.market_metadata.likeness is
    'Hashes of what the question looks like; null where an earlier version registered it.';

create index market_metadata_by_likeness on public.market_metadata using gin (likeness);
create index market_metadata_without_likeness on public.market_metadata (market_id) where likeness is null;

grant insert (likeness) on public.market_metadata to authenticated;
