-- How a market is resolved, in words of its own; where to look; a picture; and a name for its address.

alter table public.market_metadata
    add column resolution_rules text not null default '' check (char_length(resolution_rules) <= 10000),
    add column resolution_sources text[] not null default '{}' check (cardinality(resolution_sources) <= 10),
    add column image_url text check (char_length(image_url) <= 500),
    -- The question in lower-case ASCII; `zmartd migrate` makes it of the questions that are here already.
    add column slug_base text check (slug_base ~ '^[a-z0-9]+(-[a-z0-9]+)*$' and char_length(slug_base) <= 80),
    add column slug_number integer check (slug_number >= 1);
alter table public.market_metadata
    add column slug text generated always as (
        case when slug_number = 1 then slug_base else slug_base || '-' || slug_number end
    ) stored;
create unique index market_metadata_by_slug on public.market_metadata (slug);
create index market_metadata_by_slug_base on public.market_metadata (slug_base, slug_number desc);
create index market_metadata_without_slug on public.market_metadata (market_id) where slug_base is null;
create index market_metadata_by_cid on public.market_metadata (cid);

grant insert (resolution_rules, resolution_sources, image_url, slug_base, slug_number)
    on public.market_metadata to authenticated;

create function zmartd.free_slug_number(base text) returns integer
    language sql stable
    as $$
        with taken as (
            select coalesce(max(slug_number), 0) as last from public.market_metadata where slug_base = base
        )
        select tried.number
          from taken, generate_series(taken.last + 1, taken.last + 1000) as tried (number)
         where not exists (
             select from public.market_metadata
              where slug = case when tried.number = 1 then base else base || '-' || tried.number end)
         order by tried.number limit 1
    $$;
comment on function zmartd.free_slug_number(text) is
    'The number behind the next slug of this base: 1, which is not written, or the next. NULL: none is free.';
