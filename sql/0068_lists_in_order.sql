-- Lists in the order of an index: holders by their shares, a wallet's positions as they were traded last, and those of
-- them that were traded since a page was read; markets that trade no more by volume; and the few that were corrected.
-- zmartd: concurrently
-- zmartd: additive: the index that is dropped is the beginning of one that is made
create index concurrently if not exists user_positions_by_yes
    on public.user_positions (market_id, shares_yes desc, hashtextextended(user_wallet, 0) desc) where shares_yes > 0;
create index concurrently if not exists user_positions_by_no
    on public.user_positions (market_id, shares_no desc, hashtextextended(user_wallet, 0) desc) where shares_no > 0;
create index concurrently if not exists user_positions_last_traded
    on public.user_positions (user_wallet, coalesce(last_trade_at, '-infinity') desc, market_id) include (trades_count);
-- By a hash, so that nobody takes it for a way to the lots of a wallet in one market: their key is one.
create index concurrently if not exists lots_newest
    on public.lots (hashtextextended(user_wallet, 0), newest_trade desc);
create index concurrently if not exists markets_by_state_and_volume
    on public.markets (state, total_volume desc, id desc) where state <> 'ACTIVE';
create index concurrently if not exists markets_corrected on public.markets (id) where corrected_slot is not null;
drop index concurrently if exists user_positions_by_wallet;
