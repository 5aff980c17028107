// The live list of markets. Everything from the API becomes text, never markup.

const LAMPORTS_PER_SOL = 10n ** 9n;
const LEAST_MILLISECONDS = 5_000; // between two requests: a fifth of what an anonymous caller may ask
const RECONNECT_MILLISECONDS = 10_000;
const ROWS = 25;

const element = (id) => document.getElementById(id);

function cell(text, kind) {
  const cell = document.createElement("td");
  cell.textContent = text;
  if (kind) cell.className = kind;
  return cell;
}

function sol(lamports) {
  const hundredths = (BigInt(lamports) + LAMPORTS_PER_SOL / 200n) / (LAMPORTS_PER_SOL / 100n);
  return `${hundredths / 100n}.${String(hundredths % 100n).padStart(2, "0")} SOL`;
}

function row(market) {
  const link = document.createElement("a");
  link.href = `/api/markets/${encodeURIComponent(market.id)}`;
  link.textContent = market.question || market.id;
  const name = document.createElement("td");
  name.append(link);
  const outcome = market.final_outcome_label ? ` ${market.final_outcome_label}` : "";
  const row = document.createElement("tr");
  row.append(
    name,
    cell(market.state + outcome),
    cell(`${(market.price_yes * 100).toFixed(1)} %`, "number"),
    cell(sol(market.total_volume), "number"),
    cell(String(market.trades_count), "number"),
    cell(market.end_date ? new Date(market.end_date).toLocaleDateString() : "", "number"),
  );
  return row;
}

function note(text) {
  const row = document.createElement("tr");
  const only = cell(text);
  only.colSpan = 6;
  row.append(only);
  return row;
}

async function load() {
  const response = await fetch(`/api/markets?limit=${ROWS}`);
  const body = await response.json();
  if (!response.ok) throw new Error(body.message);
  const rows = body.markets.map(row);
  element("markets").replaceChildren(...(rows.length ? rows : [note("There is no market yet.")]));
}

// Loads when something changes, at most every LEAST_MILLISECONDS, and not while nobody looks.
let timer = null;
let loadedAt = 0;

function changed() {
  if (timer !== null || document.hidden) return;
  timer = setTimeout(async () => {
    loadedAt = Date.now();
    try {
      await load();
    } catch (error) {
      element("live").textContent = error.message;
    }
    timer = null;
  }, Math.max(0, loadedAt + LEAST_MILLISECONDS - Date.now()));
}

function listen() {
  const socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}/ws`);
  socket.addEventListener("open", () => {
    socket.send(JSON.stringify({ action: "subscribe", market_id: "*" }));
    element("live").textContent = "live";
    changed();
  });
  socket.addEventListener("message", changed);
  socket.addEventListener("close", () => {
    element("live").textContent = "not live: the WebSocket is closed, and is tried again";
    setTimeout(listen, RECONNECT_MILLISECONDS);
  });
}

async function askHealth() {
  const shown = element("health");
  try {
    const { status } = await (await fetch("/health")).json();
    shown.textContent = status;
    shown.className = status === "ok" ? "good" : "bad";
  } catch {
    shown.textContent = "does not answer";
    shown.className = "bad";
  }
}

document.addEventListener("visibilitychange", changed);
changed();
listen();
askHealth();
setInterval(askHealth, 60_000);
