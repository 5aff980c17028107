-- Daemons have each statement planned for its values, because batches differ by a thousand times. These functions look up
-- rows by their keys, whatever the values are, so that one plan serves all.
alter function zmartd.refresh_electorate(text[]) set plan_cache_mode = force_generic_plan;
alter function zmartd.renote_trader() set plan_cache_mode = force_generic_plan;
alter function zmartd.note_trader() set plan_cache_mode = force_generic_plan;
