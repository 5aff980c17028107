// Follows a market over the WebSocket through disconnects: node resume.mjs URL MARKET
// Prints every frame as a line, and {"type":"connected"} for every connection.
import WebSocket from "ws";

const [url, market_id] = process.argv.slice(2);
let position;

function connect() {
  const socket = new WebSocket(url);
  socket.on("open", () => {
    console.log('{"type":"connected"}');
    socket.send(JSON.stringify({ action: "subscribe", market_id, since: position }));
  });
  socket.on("message", (text) => {
    const { epoch = position?.epoch, seq = position?.seq } = JSON.parse(text);
    position = seq === undefined ? undefined : { epoch, seq };
    console.log(text.toString());
  });
  socket.on("error", () => {}); // "close" follows
  socket.on("close", () => setTimeout(connect, 100));
}

connect();
