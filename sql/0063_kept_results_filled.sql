-- What the trades from before came to. Each step goes through positions of one market with about 2,000 trades.
-- zmartd: steps
select zmartd.fill_results(2000);
drop function zmartd.fill_results(integer);
drop table zmartd.results_filled;
