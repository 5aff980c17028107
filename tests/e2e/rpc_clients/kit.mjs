// Calls every method of kit's RPC, and hears each of its subscriptions.
// Usage: node kit.mjs RPC_URL WS_URL. Prints the outcome of each method, and what subscriptions told, as JSON.
import {
  airdropFactory,
  address,
  createSolanaRpc,
  createSolanaRpcSubscriptions_UNSTABLE,
  generateKeyPairSigner,
  lamports,
} from "@solana/kit";
import { outcomes } from "./outcomes.mjs";

const [rpcUrl, wsUrl] = process.argv.slice(2);
const rpc = createSolanaRpc(rpcUrl);
const rpcSubscriptions = createSolanaRpcSubscriptions_UNSTABLE(wsUrl);
const TOKEN_PROGRAM = address("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA");
const SYSTEM_PROGRAM = address("11111111111111111111111111111111");
const confirmed = { commitment: "confirmed" };
const wallet = await generateKeyPairSigner();

const ends = new AbortController();
const told = {};
const heard = [];
async function subscribe(name, request) {
  const notifications = await request.subscribe({ abortSignal: ends.signal });
  const first = notifications[Symbol.asyncIterator]().next();
  heard.push(first.then(() => (told[name] = true)));
}
await Promise.all([
  subscribe("account", rpcSubscriptions.accountNotifications(wallet.address, confirmed)),
  subscribe("block", rpcSubscriptions.blockNotifications("all", { ...confirmed, maxSupportedTransactionVersion: 0 })),
  subscribe("logs", rpcSubscriptions.logsNotifications({ mentions: [wallet.address] }, confirmed)),
  subscribe("program", rpcSubscriptions.programNotifications(SYSTEM_PROGRAM, { ...confirmed, encoding: "base64" })),
  subscribe("root", rpcSubscriptions.rootNotifications()),
  subscribe("slot", rpcSubscriptions.slotNotifications()),
  subscribe("slotsUpdates", rpcSubscriptions.slotsUpdatesNotifications()),
]);
const votes = await rpcSubscriptions
  .voteNotifications()
  .subscribe({ abortSignal: ends.signal })
  .then(() => "ok", (error) => error.context?.__serverMessage ?? String(error));

const signature = await airdropFactory({ rpc, rpcSubscriptions })({
  commitment: "confirmed",
  recipientAddress: wallet.address,
  lamports: lamports(5_000_000_000n),
});
const transaction = await rpc.getTransaction(signature, { ...confirmed, maxSupportedTransactionVersion: 0, encoding: "base64" }).send();
const { slot } = transaction;
const { blockhash } = (await rpc.getLatestBlockhash().send()).value;
const arguments_ = {
  getAccountInfo: [wallet.address, { encoding: "base64" }],
  getBalance: [wallet.address],
  getBlock: [slot, { ...confirmed, maxSupportedTransactionVersion: 0 }],
  getBlockCommitment: [slot],
  getBlockHeight: [],
  getBlockProduction: [],
  getBlockTime: [slot],
  getBlocks: [0n, slot, confirmed],
  getBlocksWithLimit: [0n, 10, confirmed],
  getClusterNodes: [],
  getEpochInfo: [],
  getEpochSchedule: [],
  getFirstAvailableBlock: [],
  getGenesisHash: [],
  getHealth: [],
  getHighestSnapshotSlot: [],
  getIdentity: [],
  getInflationGovernor: [],
  getInflationRate: [],
  getInflationReward: [[wallet.address]],
  getLargestAccounts: [],
  getLatestBlockhash: [],
  getLeaderSchedule: [slot],
  getMaxRetransmitSlot: [],
  getMaxShredInsertSlot: [],
  getMinimumBalanceForRentExemption: [80n],
  getMultipleAccounts: [[wallet.address], { encoding: "base64" }],
  getProgramAccounts: [TOKEN_PROGRAM, { encoding: "base64" }],
  getRecentPerformanceSamples: [10],
  getRecentPrioritizationFees: [[wallet.address]],
  getSignatureStatuses: [[signature]],
  getSignaturesForAddress: [wallet.address, confirmed],
  getSlot: [],
  getSlotLeader: [],
  getSlotLeaders: [slot, 5],
  getStakeMinimumDelegation: [],
  getSupply: [],
  getTokenAccountBalance: [wallet.address],
  getTokenAccountsByDelegate: [wallet.address, { programId: TOKEN_PROGRAM }, { encoding: "base64" }],
  getTokenAccountsByOwner: [wallet.address, { programId: TOKEN_PROGRAM }, { encoding: "base64" }],
  getTokenLargestAccounts: [wallet.address],
  getTokenSupply: [wallet.address],
  getTransactionCount: [],
  getVersion: [],
  getVoteAccounts: [],
  isBlockhashValid: [blockhash],
  minimumLedgerSlot: [],
  sendTransaction: [transaction.transaction[0], { encoding: "base64" }], // it has landed
  simulateTransaction: [transaction.transaction[0], { encoding: "base64", replaceRecentBlockhash: true }],
};
const seen = await outcomes(
  Object.fromEntries(Object.entries(arguments_).map(([name, given]) => [name, () => rpc[name](...given).send()])),
);
await Promise.all(heard);
ends.abort();
console.log(JSON.stringify({ seen, told, votes }));
process.exit(0);
