-- Lists by volume are read in the order of `market_volumes`. A daemon of the release before sorts all markets for one.
-- zmartd: concurrently
-- zmartd: additive: indexes that no constraint needs
drop index concurrently if exists markets_by_volume;
drop index concurrently if exists markets_active_by_volume;
drop index concurrently if exists markets_by_state_and_volume;
