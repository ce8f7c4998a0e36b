/** The chain that the command line names, and this machine's place in it. */
import { readFile, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { chainIdOf, decodeGenesis } from "#chain/codec/genesis.ts";
import { CERTIFICATE_FLOOD_VALIDATORS_MAX } from "#chain/constants.ts";
import { sha256Hex } from "#chain/crypto.ts";
import { multiaddressOf } from "#chain/network/addresses.ts";
import { peerId } from "#chain/network/transport.ts";
import { unpackSnapshot } from "#chain/node/keptSnapshot.ts";
import type { Membership } from "../agent.ts";
import { joinAlone } from "../development.ts";
import { AgentError, codeOf, messageOf } from "../error.ts";
import { openKey } from "../keys.ts";
import { GENESIS_BYTES_MAX, GENESIS_FETCH_MS_MAX } from "../limits.ts";
import type { Settings } from "./cmdline.ts";
import { SNAPSHOTS_FOLDER } from "./vaultFormat.ts";

/** Where a machine listens for others. */
const LISTEN = "0.0.0.0:7482";

export async function joinAsTold(directory: string, settings: Settings): Promise<Membership> {
  if (settings.alone !== null) {
    const alone = await joinAlone(directory, settings.alone, "default");
    return settings.operator === null ? alone : { ...alone, operator: { address: settings.operator } };
  }
  if (settings.genesis === null) throw new AgentError("chain_unnamed", "Cannot join a chain: the kernel's command line names none (godwit.genesis=sha256:DIGEST@URL)");
  const genesis = await readGenesis(directory, settings);
  await beginWithKept(directory, genesis);
  const { openStreams } = await import("#chain/network/streams.ts");
  const machine = await openKey(join(directory, "keys", "machine"));
  const operator = settings.operator ?? (await openKey(join(directory, "keys", "operator"))).address;
  const validators = decodeGenesis(genesis).validators.map(({ publicKey }) => peerId(publicKey));
  const transport = await openStreams({
    chainId: chainIdOf(genesis), machineSeed: machine.seed, listen: [multiaddressOf(LISTEN)!], validators,
    peers: settings.peers.flatMap(({ host, port }) => multiaddressOf(`${host}:${port}`) ?? []), mdns: true, floods: validators.length > CERTIFICATE_FLOOD_VALIDATORS_MAX,
  });
  return { genesis, operator: { address: operator }, transport, joins: true, ...(settings.checkpoint === null ? {} : { checkpoint: settings.checkpoint }) };
}

/** The state that came back from the boot server (vault.ts), where there is no chain in the folder: the machine goes on from there, alone too. What cannot be used is no beginning, and peers have others. */
export async function beginWithKept(directory: string, genesis: Uint8Array): Promise<void> {
  const folder = join(directory, SNAPSHOTS_FOLDER);
  for (const name of await readdir(folder).catch((): string[] => [])) {
    await unpackSnapshot(join(directory, "chain"), genesis, await readFile(join(folder, name))).catch((error: unknown) => process.emitWarning(`Cannot begin with the snapshot that was kept: ${messageOf(error)}`));
  }
  await rm(folder, { recursive: true, force: true });
}

/** Whoever serves it: its bytes have the digest, or they are nothing. After a crash of the agent the folder has it. */
async function readGenesis(directory: string, settings: Settings): Promise<Uint8Array> {
  const { sha256, url } = settings.genesis!;
  const kept = await readFile(join(directory, "chain", "genesis")).catch((error: unknown) => {
    if (codeOf(error) !== "ENOENT") throw error;
    return null;
  });
  if (kept !== null && sha256Hex(kept) === sha256) return new Uint8Array(kept);
  const from = url ?? `${settings.bootServer}/genesis`;
  const response = await fetch(from, { signal: AbortSignal.timeout(GENESIS_FETCH_MS_MAX) }).catch((cause: unknown) => {
    throw new AgentError("genesis_unreachable", `Cannot fetch the genesis from ${from}`, { cause });
  });
  if (!response.ok) throw new AgentError("genesis_unreachable", `Cannot fetch the genesis from ${from}: it answers ${response.status}`);
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response.body ?? []) {
    length += chunk.length;
    if (length > GENESIS_BYTES_MAX) throw new AgentError("genesis_wrong", `Cannot use the genesis from ${from}: it has more than ${GENESIS_BYTES_MAX} bytes`);
    chunks.push(chunk);
  }
  const bytes = new Uint8Array(Buffer.concat(chunks));
  if (sha256Hex(bytes) !== sha256) throw new AgentError("genesis_wrong", `Cannot use the genesis from ${from}: its SHA-256 is ${sha256Hex(bytes)} and not ${sha256}`);
  return bytes;
}
