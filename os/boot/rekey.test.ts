/** Another key for a machine that runs: when it is taken, and where it is put. The ledger is a set of machines. */
import assert from "node:assert/strict";
import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { machineProofMessage } from "#chain/codec/transaction.ts";
import { addressOf } from "#chain/codec/address.ts";
import { verify } from "#chain/crypto.ts";
import type { ChainNode } from "#chain/node/chainNode.ts";
import { chainId, fromHex, hex, publicKey, signature } from "#chain/types.ts";
import { codeOf } from "../error.ts";
import { type KeyPair, keyPair } from "../keys.ts";
import { KeyChange } from "./rekey.ts";

const CHAIN = chainId(new Uint8Array(8).fill(1));
const OPERATOR = keyPair(new Uint8Array(32).fill(9)).address;
const NOW = keyPair(new Uint8Array(32).fill(1));

type World = { readonly folder: string; readonly registered: Set<string>; readonly done: string[]; block(): void; open(): Promise<KeyChange>; readonly taken: Promise<void> };

async function world(t: TestContext, machine: KeyPair = NOW): Promise<World> {
  const folder = await mkdtemp(join(tmpdir(), "godwit-rekey-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  await writeFile(join(folder, "machine"), `${hex(machine.seed)}\n`);
  const [registered, done, listeners] = [new Set([hex(machine.address)]), [] as string[], new Set<() => void>()];
  const node = {
    chainId: CHAIN, view: () => ({ machine: (id: Uint8Array) => (registered.has(hex(id)) ? { operator: OPERATOR } : null) }),
    onFinal: (listener: () => void) => (listeners.add(listener), () => listeners.delete(listener)),
  } as unknown as ChainNode;
  const { promise: taken, resolve } = Promise.withResolvers<void>();
  return {
    folder, registered, done, taken, block: () => { for (const listener of listeners) listener(); },
    open: async () => {
      const change = new KeyChange({
        keysFolder: folder, onLine: (line) => done.push(line), onTaken: resolve,
        replace: async (before, next) => {
          done.push(`${hex(before).slice(0, 4)} → ${(await readFile(join(folder, "next"), "utf8")).startsWith(hex(next)) ? "next" : "?"}`);
          return "kept in the TPM";
        },
      });
      await change.follow({ node, machine });
      return change;
    },
  };
}

test("a machine makes its next key once, proves that it has it, and takes it when the ledger has retired it under the one before", async (t) => {
  const { folder, registered, done, block, open, taken } = await world(t);
  const change = await open();
  const { machineKey, proof } = await change.prepare();
  assert.deepEqual(await change.prepare(), { machineKey, proof }, "a command that is repeated finds the same");
  const next = publicKey(fromHex(machineKey));
  assert.ok(verify("machine", signature(fromHex(proof)), machineProofMessage(CHAIN, OPERATOR), next));
  block();
  registered.add(hex(addressOf(next)));
  block();
  assert.deepEqual(done, [], "it is still the one before");
  registered.delete(hex(NOW.address));
  block();
  block();
  await taken;
  assert.deepEqual(done, ["0101 → next", "this machine has another key now, kept in the TPM"]);
  assert.equal(hex(keyPair(fromHex((await readFile(join(folder, "machine"), "utf8")).trim())).publicKey), machineKey);
  assert.deepEqual(await readdir(folder), ["machine"]);
});

test("a key that was made before a crash of the agent is the next one after it, and is taken though the ledger had it meanwhile", async (t) => {
  const { registered, open, taken } = await world(t);
  const { machineKey } = await (await open()).prepare();
  registered.add(hex(addressOf(publicKey(fromHex(machineKey)))));
  registered.delete(hex(NOW.address));
  await open();
  await taken;
});

test("a machine that the ledger does not know, or that has retired without another key, makes and takes none", async (t) => {
  const { folder, registered, done, block, open } = await world(t);
  const change = await open();
  registered.clear();
  await assert.rejects(change.prepare(), (error) => codeOf(error) === "machine_unknown");
  block();
  assert.deepEqual([done, await readdir(folder)], [[], ["machine"]]);
});
