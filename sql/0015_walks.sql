-- Pages of trades in all markets, and of the counts in a market's audit trail, without reading what is not on
-- them.
create index trades_newest on public.trades (slot desc, id desc);
create index vote_events_aggregated on public.vote_events (market_id, slot desc)
    where event_type in ('ProposalAggregated', 'DisputeAggregated');
