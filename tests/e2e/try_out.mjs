// What the bar above the documentation does with its wallet, without a page: argv has the scripts, the API and the chain.

const [scripts, api, rpc] = process.argv.slice(2);
const { airdrop, base58, makeWallet, send, signIn, signTransaction } = await import(`${scripts}/wallet.mjs`);

const wallet = await makeWallet();
await airdrop(rpc, wallet.address, 2_000_000_000);
const session = await signIn(api, wallet, new URL(api).host);
const headers = { "Content-Type": "application/json", Authorization: `Bearer ${session.token}` };
const proposal = {
  question: "Will a wallet in a page create this market?",
  category: "other",
  end_date: new Date(Date.now() + 30 * 86_400_000).toISOString(),
  initial_liquidity: 1_000_000_000,
};
const registered = await (
  await fetch(`${api}/api/markets`, { method: "POST", headers, body: JSON.stringify(proposal) })
).json();
const landed = await send(api, session.token, await signTransaction(wallet, registered.transaction));
const stranger = await makeWallet();
const refused = await signTransaction(stranger, registered.transaction).catch((error) => error.message);
console.log(
  JSON.stringify({
    wallet: wallet.address,
    signedIn: session.wallet,
    events: landed.events.map((event) => event.name),
    refused,
    base58: base58(new Uint8Array(32)),
  }),
);
