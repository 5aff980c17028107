// A throw-away wallet in a page, for a development chain: its key never leaves the page and dies with it.

const ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const SIGNATURE_BYTES = 64;
const ADDRESS_BYTES = 32;
const PATIENCE_MILLISECONDS = 30_000;

export function base58(bytes) {
  let number = bytes.reduce((sum, byte) => sum * 256n + BigInt(byte), 0n);
  let text = "";
  for (; number > 0n; number /= 58n) text = ALPHABET[Number(number % 58n)] + text;
  const zeros = bytes.findIndex((byte) => byte !== 0);
  return "1".repeat(zeros < 0 ? bytes.length : zeros) + text;
}

/** A new wallet: its address, and what signs bytes. Throws where the browser has no Ed25519. */
export async function makeWallet() {
  const pair = await crypto.subtle.generateKey({ name: "Ed25519" }, false, ["sign", "verify"]);
  const publicKey = new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey));
  const sign = async (bytes) => new Uint8Array(await crypto.subtle.sign("Ed25519", pair.privateKey, bytes));
  return { address: base58(publicKey), publicKey, sign };
}

async function ask(url, options) {
  const response = await fetch(url, options);
  const body = await response.json();
  if (!response.ok) throw new Error(`${body.code}: ${body.message}`);
  return body;
}

function post(url, body, token) {
  const headers = { "Content-Type": "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  return ask(url, { method: "POST", headers, body: JSON.stringify(body) });
}

async function rpc(url, method, ...params) {
  const answer = await post(url, { jsonrpc: "2.0", id: 1, method, params });
  if (answer.error) throw new Error(`${method}: ${answer.error.message}`);
  return answer.result;
}

/** Give an address lamports from the chain's faucet, and wait until they have arrived. */
export async function airdrop(rpcUrl, address, lamports) {
  await rpc(rpcUrl, "requestAirdrop", address, lamports);
  const deadline = Date.now() + PATIENCE_MILLISECONDS;
  while ((await rpc(rpcUrl, "getBalance", address, { commitment: "confirmed" })).value < lamports) {
    if (Date.now() > deadline) throw new Error("the faucet's lamports did not arrive");
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

/** Sign In With Solana at the API at `origin`; the session as POST /api/auth/login answers it. */
export async function signIn(origin, wallet, domain) {
  const query = new URLSearchParams({ wallet: wallet.address, domain });
  const { message } = await ask(`${origin}/api/auth/nonce?${query}`);
  const signature = base58(await wallet.sign(new TextEncoder().encode(message)));
  return post(`${origin}/api/auth/login`, { message, signature, wallet: wallet.address });
}

/** Sign an unsigned transaction in base64 whose payer and only signer is the wallet. */
export async function signTransaction(wallet, transaction) {
  const bytes = Uint8Array.from(atob(transaction), (character) => character.charCodeAt(0));
  const message = bytes.slice(1 + SIGNATURE_BYTES);
  const header = message[0] & 0x80 ? 1 : 0; // a versioned message begins with its version
  const keys = header + 4; // after three counts and the number of keys, which is below 128
  const payer = message.slice(keys, keys + ADDRESS_BYTES);
  const isOurs = payer.every((byte, index) => byte === wallet.publicKey[index]);
  if (bytes[0] !== 1 || message[header] !== 1 || !isOurs) {
    throw new Error("this transaction is for another wallet to sign");
  }
  bytes.set(await wallet.sign(message), 1);
  return btoa(String.fromCharCode(...bytes));
}

/** Send a signed transaction, with the protection that came with a trade; the API's answer about it. */
export function send(origin, token, transaction, protection) {
  return post(`${origin}/api/transactions`, { transaction, ...(protection && { protection }) }, token);
}
