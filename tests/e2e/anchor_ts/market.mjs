// Creates a market, votes on it and reads both back with nothing but the public TypeScript clients.
// Usage: node market.mjs RPC_URL IDL_FILE PROGRAM_ID. Prints what it saw as one line of JSON.
import { readFileSync } from "node:fs";
import anchor from "@coral-xyz/anchor";
import { Connection, Keypair, LAMPORTS_PER_SOL, PublicKey, SystemProgram, Transaction } from "@solana/web3.js";

const [rpcUrl, idlFile, programId] = process.argv.slice(2);
const { AnchorProvider, BN, EventParser, Program, Wallet } = anchor;

const connection = new Connection(rpcUrl, "confirmed"); // its WebSocket is on the next port
const idl = { ...JSON.parse(readFileSync(idlFile, "utf8")), address: programId };

async function walletWithMoney() {
  const wallet = Keypair.generate();
  const latest = await connection.getLatestBlockhash();
  const signature = await connection.requestAirdrop(wallet.publicKey, 10 * LAMPORTS_PER_SOL);
  await connection.confirmTransaction({ signature, ...latest });
  return wallet;
}

function programOf(wallet) {
  return new Program(idl, new AnchorProvider(connection, new Wallet(wallet), { commitment: "confirmed" }));
}

// Subscriptions are sent in their order on one connection: once a slot is told, those before it stand.
const listening = () =>
  new Promise((resolve) => {
    const number = connection.onSlotChange(() => resolve(number));
  }).then((number) => connection.removeSlotChangeListener(number));

const creator = await walletWithMoney();
const voter = await walletWithMoney();
const program = programOf(creator);

await program.methods
  .initializeGlobalConfig(creator.publicKey)
  .accountsPartial({ admin: creator.publicKey, protocolFeeWallet: Keypair.generate().publicKey })
  .rpc();

const heard = new Promise((resolve) => {
  program.addEventListener("marketCreated", (event, slot, signature) => resolve({ event, slot, signature }));
});

const marketId = Keypair.generate().publicKey.toBytes();
const [market] = PublicKey.findProgramAddressSync([Buffer.from("market"), marketId], program.programId);
const changed = new Promise((resolve) => connection.onAccountChange(market, (account) => resolve(account.data.length)));
await listening();

const question = Buffer.from("QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWKPbdG");
const created = await program.methods
  .createMarket([...marketId], new BN(100).mul(new BN(1e9)), new BN(LAMPORTS_PER_SOL), [...question])
  .accountsPartial({ creator: creator.publicKey })
  .rpc();

const vote = () =>
  programOf(voter).methods.submitProposalVote(true).accountsPartial({ market, user: voter.publicKey });
const voted = await vote().rpc();

const account = await program.account.marketAccount.fetch(market);
const votes = await program.account.voteRecord.all([
  { memcmp: { offset: 8, bytes: market.toBase58() } },
]);
const landed = await connection.getTransaction(created, { maxSupportedTransactionVersion: 0 });
const events = [...new EventParser(program.programId, program.coder).parseLogs(landed.meta.logMessages)];
const votedTwice = await vote().rpc().then(() => null, (error) => ({ logs: error.logs ?? null }));
const activatedTooEarly = await program.methods
  .activateMarket()
  .accountsPartial({ market, authority: creator.publicKey })
  .rpc()
  .then(() => null, (error) => error.error?.errorCode?.code ?? String(error));
const transfer = new Transaction().add(
  SystemProgram.transfer({ fromPubkey: creator.publicKey, toPubkey: voter.publicKey, lamports: 1000 }),
);
const simulated = await connection.simulateTransaction(transfer, [creator]);
const event = await heard;

console.log(
  JSON.stringify({
    creator: creator.publicKey.toBase58(),
    voter: voter.publicKey.toBase58(),
    market: market.toBase58(),
    marketId: Buffer.from(marketId).toString("hex"),
    created,
    voted,
    state: Object.keys(account.state)[0],
    bParameter: account.bParameter.toString(),
    initialLiquidity: account.initialLiquidity.toString(),
    accountCreator: account.creator.toBase58(),
    question: Buffer.from(account.ipfsEvidenceHash).toString(),
    votes: votes.map((one) => ({ user: one.account.user.toBase58(), vote: one.account.vote })),
    parsedEvents: events.map((one) => one.name),
    heard: { signature: event.signature, marketId: Buffer.from(event.event.marketId).toString("hex") },
    changedBytes: await changed,
    votedTwice,
    activatedTooEarly,
    simulatedError: simulated.value.err,
  }),
);
process.exit(0); // open WebSockets would keep the process alive
