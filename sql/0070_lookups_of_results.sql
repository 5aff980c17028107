-- Few results slide into a period or out of it at a time, or come late. Their trades are looked up: Postgres does not know
-- the period when it plans, and would read all trades to join them.
alter function zmartd.slid_results(timestamptz, text[]) set enable_hashjoin = off set enable_mergejoin = off;
