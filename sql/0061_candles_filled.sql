-- Candles of the trades from before. Each step counts the periods of up to 2,000 trades of one market.
-- zmartd: steps: trades
-- zmartd: additive: what is dropped is of these two files alone
select zmartd.fill_candles(2000);
drop function zmartd.fill_candles(integer);
drop table zmartd.candles_filled;
