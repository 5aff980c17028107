-- What the positions from before come to. Each step counts those of one market.
-- zmartd: steps: user_positions
-- zmartd: additive: what is dropped is of these two files alone
select zmartd.fill_holdings();
drop function zmartd.fill_holdings();
drop table zmartd.holdings_filled;
