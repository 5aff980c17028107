-- Candles of the trades from before. Each step counts those of one market, of some days with about 20,000 trades.
-- zmartd: steps: trades
-- zmartd: additive: what is dropped is of these two files alone
select zmartd.fill_candles(20000);
drop function zmartd.fill_candles(integer);
drop table zmartd.candles_filled;
