-- A market gets its name in URLs when it is on the chain, which costs its creator something. What is only
-- registered, and forgotten again, takes no name and hands none on.

drop function zmartd.free_slug_number(text);
alter table public.market_metadata alter column slug drop expression;
set local role service_role;
update public.market_metadata set slug = null where appeared_at is null and slug is not null;
reset role;
alter table public.market_metadata
    drop column slug_number,
    -- The document has them, once.
    drop column resolution_rules,
    drop column resolution_sources;

-- Only the last of them ends with a whole market id, so nothing else can have that one.
create function zmartd.slugs_of(base text, market_id text) returns text[]
    language sql immutable
    as $$
        select array_remove(
            array[
                case when base !~ '(^|-)[0-9a-f]{64}$' then base end,
                base || '-' || left(market_id, 8),
                rtrim(left(base, 35), '-') || '-' || market_id
            ],
            null)
    $$;
comment on function zmartd.slugs_of(text, text) is
    'The names that a market may have, at most 100 characters long: the first that is free is its own.';

create function zmartd.name_market(named text) returns void
    language plpgsql
    as $$
    declare
        nameless record;
        candidate text;
    begin
        for nameless in
            select creator_wallet, slug_base from public.market_metadata
             where market_id = named and appeared_at is not null and slug is null and slug_base is not null
        loop
            foreach candidate in array zmartd.slugs_of(nameless.slug_base, named) loop
                begin
                    -- The unique index waits for whoever is taking the same name.
                    update public.market_metadata set slug = candidate
                     where market_id = named and creator_wallet = nameless.creator_wallet;
                    exit;
                exception when unique_violation then
                    null;
                end;
            end loop;
        end loop;
    end
    $$;
comment on function zmartd.name_market(text) is
    'Gives a market that has been on the chain its name in URLs, which it keeps.';

create or replace function zmartd.adopt_metadata(adopting text) returns boolean
    language plpgsql
    as $$
    begin
        update public.market_metadata as metadata
           set appeared_at = now()
          from public.markets as market
         where market.id = adopting
           and metadata.market_id = market.id
           and metadata.creator_wallet = market.creator_wallet
           and metadata.appeared_at is null;
        perform zmartd.name_market(adopting);
        update public.markets as market
           set question = metadata.question,
               description = metadata.description,
               category = metadata.category,
               tags = metadata.tags,
               end_date = metadata.end_date,
               metadata_verified = metadata.cid is not distinct from market.ipfs_question_hash,
               version = market.version + 1
          from public.market_metadata as metadata
         where market.id = adopting
           and metadata.market_id = market.id
           and metadata.creator_wallet = market.creator_wallet
           and (market.question = '' or not market.metadata_verified);
        return found;
    end
    $$;
