// Calls what web3.js 1.x can ask of a node. It refuses answers that are not of a node's shape.
// Usage: node web3js.mjs RPC_URL. Prints the outcome of each method, and what subscriptions told, as JSON.
import {
  ComputeBudgetProgram,
  Connection,
  Keypair,
  LAMPORTS_PER_SOL,
  NONCE_ACCOUNT_LENGTH,
  PublicKey,
  SystemProgram,
  Transaction,
  TransactionMessage,
  VersionedTransaction,
} from "@solana/web3.js";
import { outcomes } from "./outcomes.mjs";

const connection = new Connection(process.argv[2], "confirmed");
const TOKEN_PROGRAM = new PublicKey("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA");

const told = {};
const hears = (name, subscribe) => new Promise((resolve) => subscribe(resolve)).then(() => (told[name] = true));

const wallet = Keypair.generate();
const nonce = Keypair.generate();
const friend = Keypair.generate().publicKey;
const heard = [
  hears("logs", (tell) => connection.onLogs("all", tell)),
  hears("account", (tell) => connection.onAccountChange(wallet.publicKey, tell)),
  hears("program", (tell) => connection.onProgramAccountChange(SystemProgram.programId, tell)),
  hears("root", (tell) => connection.onRootChange(tell)),
  hears("slotUpdate", (tell) => connection.onSlotUpdate(tell)),
  hears("slot", (tell) => connection.onSlotChange(tell)), // the last: once it is told, the others stand
];
await heard.at(-1);

const latest = await connection.getLatestBlockhash();
const airdrop = await connection.requestAirdrop(wallet.publicKey, 10 * LAMPORTS_PER_SOL);
await connection.confirmTransaction({ signature: airdrop, ...latest });

const send = async (transaction, signers) => {
  const { blockhash, lastValidBlockHeight } = await connection.getLatestBlockhash();
  transaction.recentBlockhash = blockhash;
  transaction.feePayer = wallet.publicKey;
  const signature = await connection.sendTransaction(transaction, signers);
  await connection.confirmTransaction({ signature, blockhash, lastValidBlockHeight });
  return signature;
};
const pay = SystemProgram.transfer({ fromPubkey: wallet.publicKey, toPubkey: friend, lamports: LAMPORTS_PER_SOL });
const legacy = await send(new Transaction().add(pay), [wallet]);
const rent = await connection.getMinimumBalanceForRentExemption(NONCE_ACCOUNT_LENGTH);
await send(
  SystemProgram.createNonceAccount({
    fromPubkey: wallet.publicKey,
    noncePubkey: nonce.publicKey,
    authorizedPubkey: wallet.publicKey,
    lamports: rent,
  }),
  [wallet, nonce],
);
const newest = await connection.getLatestBlockhash();
const message = new TransactionMessage({
  payerKey: wallet.publicKey,
  recentBlockhash: newest.blockhash,
  instructions: [ComputeBudgetProgram.setComputeUnitLimit({ units: 1000 }), pay],
}).compileToV0Message();
const versioned = new VersionedTransaction(message);
versioned.sign([wallet]);
const signature = await connection.sendTransaction(versioned);
await connection.confirmTransaction({ signature, ...newest });

// A nonce transaction that fails uses its nonce up, and web3.js sees how it ended.
const { nonce: value } = await connection.getNonce(nonce.publicKey);
const failing = new Transaction({
  feePayer: wallet.publicKey,
  nonceInfo: {
    nonce: value,
    nonceInstruction: SystemProgram.nonceAdvance({
      noncePubkey: nonce.publicKey,
      authorizedPubkey: wallet.publicKey,
    }),
  },
}).add(SystemProgram.transfer({ fromPubkey: wallet.publicKey, toPubkey: friend, lamports: 1e15 }));
failing.sign(wallet);
const minContextSlot = await connection.getSlot();
const failed = await connection.sendRawTransaction(failing.serialize(), { skipPreflight: true });
const error = await connection
  .confirmTransaction({
    signature: failed,
    nonceAccountPubkey: nonce.publicKey,
    nonceValue: value,
    minContextSlot,
  })
  .then((ended) => ended.value.err, (thrown) => thrown);

const { slot } = await connection.getTransaction(signature, { maxSupportedTransactionVersion: 0 });
const supported = { maxSupportedTransactionVersion: 0 };
const calls = {
  getAddressLookupTable: () => connection.getAddressLookupTable(Keypair.generate().publicKey),
  getBalanceAndContext: () => connection.getBalanceAndContext(friend),
  getBlock: () => connection.getBlock(slot, supported),
  "getBlock accounts": () => connection.getBlock(slot, { ...supported, transactionDetails: "accounts" }),
  "getBlock none": () => connection.getBlock(slot, { ...supported, transactionDetails: "none" }),
  "getBlock without a version": () => connection.getBlock(slot),
  getBlockHeight: () => connection.getBlockHeight(),
  getBlockProduction: () => connection.getBlockProduction(),
  getBlockSignatures: () => connection.getBlockSignatures(slot),
  getBlockTime: () => connection.getBlockTime(slot),
  getBlocks: () => connection.getBlocks(0, slot),
  getClusterNodes: () => connection.getClusterNodes(),
  getEpochInfo: () => connection.getEpochInfo(),
  getEpochSchedule: () => connection.getEpochSchedule(),
  getFeeForMessage: () => connection.getFeeForMessage(message),
  getFirstAvailableBlock: () => connection.getFirstAvailableBlock(),
  getGenesisHash: () => connection.getGenesisHash(),
  getInflationGovernor: () => connection.getInflationGovernor(),
  getInflationRate: () => connection.getInflationRate(),
  getInflationReward: () => connection.getInflationReward([friend]),
  getLargestAccounts: () => connection.getLargestAccounts(),
  getLeaderSchedule: () => connection.getLeaderSchedule(),
  getMinimumLedgerSlot: () => connection.getMinimumLedgerSlot(),
  getMultipleAccountsInfo: () => connection.getMultipleAccountsInfo([friend, wallet.publicKey]),
  getMultipleParsedAccounts: () => connection.getMultipleParsedAccounts([friend]),
  getParsedAccountInfo: () => connection.getParsedAccountInfo(friend),
  getParsedBlock: () => connection.getParsedBlock(slot, supported),
  getParsedTokenAccountsByOwner: () =>
    connection.getParsedTokenAccountsByOwner(friend, { programId: TOKEN_PROGRAM }),
  getParsedTransaction: () => connection.getParsedTransaction(signature, supported),
  getProgramAccounts: () => connection.getProgramAccounts(TOKEN_PROGRAM),
  getRecentPerformanceSamples: () => connection.getRecentPerformanceSamples(),
  getRecentPrioritizationFees: () => connection.getRecentPrioritizationFees(),
  getSignatureStatus: () => connection.getSignatureStatus(signature),
  getSignaturesForAddress: () => connection.getSignaturesForAddress(friend),
  getSlotLeader: () => connection.getSlotLeader(),
  getSlotLeaders: () => connection.getSlotLeaders(slot, 10),
  getStakeMinimumDelegation: () => connection.getStakeMinimumDelegation(),
  getSupply: () => connection.getSupply(),
  getTokenAccountBalance: () => connection.getTokenAccountBalance(friend),
  getTokenAccountsByOwner: () => connection.getTokenAccountsByOwner(friend, { programId: TOKEN_PROGRAM }),
  getTokenLargestAccounts: () => connection.getTokenLargestAccounts(friend),
  getTokenSupply: () => connection.getTokenSupply(friend),
  "getTransaction legacy": () => connection.getTransaction(legacy),
  getTransactionCount: () => connection.getTransactionCount(),
  getVersion: () => connection.getVersion(),
  getVoteAccounts: () => connection.getVoteAccounts(),
  isBlockhashValid: () => connection.isBlockhashValid(newest.blockhash),
};
const seen = await outcomes(calls);
await Promise.all(heard);
const advanced = await connection.getNonce(nonce.publicKey);
console.log(
  JSON.stringify({
    seen,
    told,
    nonceTransaction: error,
    nonceAdvanced: advanced.nonce !== value,
    blockHasIt: (await connection.getBlock(slot, supported)).transactions.some(
      (one) => one.transaction.signatures[0] === signature,
    ),
    leader: (await connection.getSlotLeader()) === (await connection.getClusterNodes())[0].pubkey,
  }),
);
process.exit(0); // open WebSockets would keep the process alive
