-- What the trades from before came to. Each step goes through positions of one market with about 20,000 trades.
-- zmartd: steps: trades
-- zmartd: additive: what is dropped is of these two files alone
select zmartd.fill_results(20000);
drop function zmartd.fill_results(integer);
drop table zmartd.results_filled;
