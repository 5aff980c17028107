// Calls a daemon with openapi-fetch and the generated types, and prints what it got.
import createClient from "openapi-fetch";
import type { paths } from "./api.js";

declare const process: { argv: string[] };

const [, , baseUrl, marketId] = process.argv as [string, string, string, string];
const client = createClient<paths>({ baseUrl });

const markets = await client.GET("/api/markets", { params: { query: { state: "ACTIVE" } } });
const estimate = await client.GET("/api/trades/estimate", {
  params: { query: { market_id: marketId, outcome: true, target_cost: "1000000000" } },
});
const unknown = await client.GET("/api/markets/{id}", { params: { path: { id: "0".repeat(64) } } });
const wrong = await client.GET("/api/trades", { params: { query: { limit: 100_000 } } });

console.log(
  JSON.stringify({
    markets: markets.data?.markets.map((market) => market.id),
    totalCost: estimate.data?.net,
    unknown: unknown.error?.code,
    problems:
      wrong.error?.code === "invalid_request" ? wrong.error.details.map((one) => one.field) : null,
  }),
);
