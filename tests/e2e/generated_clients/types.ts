// What openapi-typescript makes of central shapes of the document. This file is compiled, and never runs.
import type { components, operations, paths } from "./api.js";

type Equal<A, B> =
  (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false;
type Schemas = components["schemas"];
type Json<Responses, Status extends keyof Responses> = Responses[Status] extends {
  content: { "application/json": infer Body };
}
  ? Body
  : never;

function is<_ extends true>(): void {}

// A purchase is for a cost or of shares; the rest may be left out, and no field is there under two names.
is<
  Equal<
    Schemas["PurchaseOfShares"],
    {
      market_id: string;
      outcome: boolean;
      shares: number | string;
      slippage_bps?: number;
      min_shares?: number | string | null;
      max_cost?: number | string | null;
    }
  >
>();
is<Equal<Schemas["BuyRequest"], Schemas["PurchaseForCost"] | Schemas["PurchaseOfShares"]>>();
export const purchases: Schemas["BuyRequest"][] = [
  { market_id: "m", outcome: true, target_cost: "1000000000" },
  { market_id: "m", outcome: false, shares: 5, max_cost: null },
  // @ts-expect-error: neither a cost nor shares
  { market_id: "m", outcome: true },
  // @ts-expect-error: without a market
  { outcome: true, target_cost: "1" },
];
type Buy = paths["/api/trades/buy"]["post"];
is<Equal<Buy["requestBody"]["content"]["application/json"], Schemas["BuyRequest"]>>();
is<Equal<Json<Buy["responses"], 200>, Schemas["BuyBody"]>>();

// Every field of an answer is there; amounts are text, prices are numbers, and a state is one of seven names.
type Market = Schemas["MarketBody"];
is<Equal<Market, Required<Market>>>();
is<Equal<Market["total_volume"], string>>();
is<Equal<Market["price_yes"], number>>();
is<Equal<Market["final_outcome"], boolean | null>>();
is<
  Equal<
    Market["state"],
    "PROPOSED" | "APPROVED" | "ACTIVE" | "RESOLVING" | "DISPUTED" | "FINALIZED" | "CANCELLED"
  >
>();
is<Equal<Schemas["ThreadBody"]["replies"], Schemas["ThreadBody"][]>>();

// An event's name says which fields it has, in a trail and in a transaction.
type TrailEvent = Schemas["EventBody"];
is<Equal<Extract<TrailEvent, { name: "MarketResolved" }>["data"]["outcome"], boolean>>();
is<Equal<Extract<TrailEvent, { name: "MarketCreated" }>["data"]["initial_liquidity"], string | undefined>>();
export function paid(event: Schemas["ProgramEvent"]): string | null {
  return event.name === "SharesBought" ? event.cost : event.name === "SharesSold" ? event.proceeds : null;
}
is<Equal<Json<paths["/api/transactions"]["post"]["responses"], 200>["events"], Schemas["ProgramEvent"][]>>();

// A query's parameters are optional unless they are required, be there a default or not.
type TradesQuery = NonNullable<operations["list_market_trades"]["parameters"]["query"]>;
is<Equal<TradesQuery["limit"], number | undefined>>();
is<Equal<operations["estimate_trade"]["parameters"]["query"]["market_id"], string>>();

// The code says which error it is, and so which details it has.
type Refusal = Json<Buy["responses"], 400> | Json<Buy["responses"], 404>;
is<Equal<Refusal["code"], "invalid_http" | "invalid_json" | "invalid_request" | "market_not_found">>();
is<Equal<Schemas["MarketNotFound"]["status"], 404>>();
type Fresh = Schemas["PriceMoved"]["details"]["fresh"];
is<Equal<Fresh, Schemas["BuyBody"] | Schemas["SellBody"] | null | undefined>>();
is<Equal<Schemas["MarketNotFound"]["details"], Schemas["MarketReference"] | undefined>>();
is<Equal<Schemas["TooEarly"]["details"]["end_date"], string | null>>();
is<Equal<Schemas["WrongState"]["details"]["next"], Schemas["NextStep"][]>>();
is<Equal<Schemas["InsufficientFunds"]["details"]["missing"], string>>();
is<Equal<Schemas["ProgramRefused"]["details"]["largest_trade_here"], string | undefined>>();

// Of all errors of an operation, each code is of one, so that its details have one type.
type Relay = paths["/api/transactions"]["post"]["responses"];
type ErrorStatus = Exclude<keyof Relay, 200 | 202>;
type RelayRefusal = { [Status in ErrorStatus]: Json<Relay, Status> }[ErrorStatus];
is<Equal<Extract<RelayRefusal, { code: "insufficient_funds" }>, Schemas["InsufficientFunds"]>>();
export function whatToDo(refusal: RelayRefusal | Refusal): string | null | undefined {
  switch (refusal.code) {
    case "price_moved":
      return refusal.details.fresh?.transaction;
    case "market_not_found":
      return refusal.details?.given;
    case "invalid_request":
      return refusal.details[0]!.field;
    case "slippage_exceeded":
      return refusal.details?.offered;
    default:
      return refusal.message;
  }
}
