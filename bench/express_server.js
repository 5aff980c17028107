// What `bench.http --express` compares with: a plain server that answers with the row, or the rows, of one select.
// Of its arguments the first is the database's URL; it prints its port.
const express = require("express");
const { Pool, types } = require("pg");

types.setTypeParser(20, String); // bigint, as zmartd's answers have it
// Every table has row level security: as the daemon's own role it sees all rows.
const pool = new Pool({ connectionString: process.argv[2], max: 10, options: "-c role=service_role" });
const app = express();

const MARKET = "select * from markets where id = $1";
const POSITIONS = `
  select held.*, market.question, market.state, market.current_price_yes, market.current_price_no,
         market.final_outcome, market.slot as market_slot
    from user_positions as held join markets as market on market.id = held.market_id
   where held.user_wallet = $1
   order by held.last_trade_at desc, held.market_id limit 100`;

app.get("/api/markets/:id", async (request, response, next) => {
  try {
    const { rows } = await pool.query({ name: "market", text: MARKET, values: [request.params.id] });
    response.json(rows[0]);
  } catch (error) {
    next(error);
  }
});

app.get("/api/users/:wallet/positions", async (request, response, next) => {
  try {
    const { rows } = await pool.query({ name: "positions", text: POSITIONS, values: [request.params.wallet] });
    response.json(rows);
  } catch (error) {
    next(error);
  }
});

const server = app.listen(0, "127.0.0.1", () => console.log(server.address().port));
