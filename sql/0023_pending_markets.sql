-- What was registered about markets that their creators never made is not kept for ever.

alter table public.market_metadata add column appeared_at timestamptz;
comment on column public.market_metadata.appeared_at is
    'When the index first had this market as its creator''s own. It stays when the index is made anew: the texts of a market exist nowhere else.';

set local role service_role;
update public.market_metadata as metadata
   set appeared_at = now()
  from public.markets as market
 where market.id = metadata.market_id and market.creator_wallet = metadata.creator_wallet;
reset role;

create index market_metadata_pending_of_creator on public.market_metadata (creator_wallet)
    where appeared_at is null;
create index market_metadata_pending on public.market_metadata (created_at) where appeared_at is null;

create or replace function zmartd.adopt_metadata(adopting text) returns boolean
    language sql
    as $$
        with appeared as (
            update public.market_metadata as metadata
            set appeared_at = now()
            from public.markets as market
            where market.id = adopting
                and metadata.market_id = market.id
                and metadata.creator_wallet = market.creator_wallet
                and metadata.appeared_at is null
        ), adopted as (
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
                and (market.question = '' or not market.metadata_verified)
            returning true
        )
        select exists (select from adopted)
    $$;
