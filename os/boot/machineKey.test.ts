/** Where a machine's key is kept: the rules with places that a test makes, a partition as a file, and a TPM in software where there is one. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { needs } from "#tests/require.ts";
import { codeOf } from "../error.ts";
import { findKeyPartition, parseRecord, readKey, recordOf, writeKey } from "./keyPartition.ts";
import { type FindPlace, type KeyPlace, replaceMachineKey, settleMachineKey } from "./machineKey.ts";
import { type TpmWire, readSecret, writeSecret } from "./tpm.ts";

const WAIT_MS_MAX = 30_000;
const SEED = new Uint8Array(32).fill(7);
const LATE = (): number => 1e9;

async function folder(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "godwit-key-"));
  t.after(() => rm(path, { recursive: true, force: true }));
  return path;
}
function placeOf(name: KeyPlace["name"], held: { seed: Uint8Array | null }, changes: Partial<KeyPlace> = {}): FindPlace {
  return async () => ({ name, read: async () => held.seed, write: async (seed) => void (held.seed = seed), ...changes });
}
const nowhere: FindPlace = async () => null;
const keyIn = (keys: string): Promise<string> => readFile(join(keys, "machine"), "utf8");
const rejectsWith = (work: Promise<unknown>, code: string): Promise<void> => assert.rejects(work, (error) => codeOf(error) === code);

test("the first place that there is keeps the key: the machine makes it once, and is the same after each boot", async (t) => {
  const [tpm, partition] = [{ seed: null as Uint8Array | null }, { seed: SEED as Uint8Array | null }];
  const places = { tpm: placeOf("tpm", tpm), partition: placeOf("partition", partition) };
  const [first, second, third] = [await folder(t), await folder(t), await folder(t)];
  assert.match(await settleMachineKey(first, null, places, LATE), /made.*TPM/);
  assert.match(await settleMachineKey(second, null, places, LATE), /from the TPM/);
  assert.equal(await keyIn(second), await keyIn(first));
  assert.equal(await keyIn(first), `${tpm.seed?.toHex()}\n`);
  assert.equal(await settleMachineKey(first, null, { tpm: nowhere, partition: nowhere }, LATE), "as before", "after a crash of the agent nothing is asked");
  assert.match(await settleMachineKey(third, "partition", places, LATE), /from the partition/);
  assert.equal(await keyIn(third), `${SEED.toHex()}\n`);
});

test("a place that was named must be there and work; one that was not is told and passed over", async (t) => {
  const keys = await folder(t);
  const fails = placeOf("tpm", { seed: null }, { read: async () => { throw Object.assign(new Error("no"), { code: "tpm_sealed" }); } });
  const forgets = placeOf("partition", { seed: null }, { write: async () => {} });
  await rejectsWith(settleMachineKey(keys, "tpm", { tpm: nowhere, partition: nowhere }, LATE), "key_place_missing");
  await rejectsWith(settleMachineKey(keys, "tpm", { tpm: fails, partition: nowhere }, LATE), "tpm_sealed");
  await rejectsWith(settleMachineKey(keys, "partition", { tpm: nowhere, partition: forgets }, LATE), "key_place_broken");
  assert.match(await settleMachineKey(keys, null, { tpm: fails, partition: forgets }, LATE), /tpm_sealed.*key_place_broken.*in memory/);
  assert.match(await settleMachineKey(keys, "none", { tpm: fails, partition: forgets }, LATE), /in memory/);
  await assert.rejects(keyIn(keys));
});

test("another key is put where the one before is kept, and nowhere else; a place that does not keep it is an error", async () => {
  const next = new Uint8Array(32).fill(8);
  const [tpm, partition] = [{ seed: null as Uint8Array | null }, { seed: SEED as Uint8Array | null }];
  const places = { tpm: placeOf("tpm", tpm), partition: placeOf("partition", partition) };
  assert.equal(await replaceMachineKey(SEED, next, places), "kept in the partition");
  assert.deepEqual([tpm.seed, partition.seed], [null, next]);
  assert.match(await replaceMachineKey(SEED, next, { tpm: placeOf("tpm", { seed: new Uint8Array(32) }), partition: nowhere }), /in memory/, "what another machine left is not ours");
  await rejectsWith(replaceMachineKey(SEED, next, { tpm: placeOf("tpm", { seed: SEED }, { write: async () => {} }), partition: nowhere }), "key_place_broken");
});

test("a partition is known by its name, holds one key, and is written over by the next key of its machine alone", async (t) => {
  const [names, disk] = [await folder(t), join(await folder(t), "disk")];
  assert.equal(findKeyPartition(join(names, "none")), null);
  for (const [device, name] of [["sda1", "ESP"], ["sdb2", "godwit-key"]] as const) {
    await mkdir(join(names, device));
    await writeFile(join(names, device, "uevent"), `MAJOR=8\nPARTNAME=${name}\n`);
  }
  assert.equal(findKeyPartition(names), "/dev/sdb2");
  await mkdir(join(names, "sdc2"));
  await writeFile(join(names, "sdc2", "uevent"), "PARTNAME=godwit-key\n");
  assert.throws(() => findKeyPartition(names), (error) => codeOf(error) === "key_partition_twice");

  await writeFile(disk, new Uint8Array(4096));
  assert.equal(await readKey(disk), null);
  await writeKey(disk, SEED);
  assert.deepEqual(await readKey(disk), SEED);
  await rejectsWith(writeKey(disk, SEED), "key_partition_used");
  const next = new Uint8Array(32).fill(8);
  await rejectsWith(writeKey(disk, next, next), "key_partition_used");
  await writeKey(disk, next, SEED);
  assert.deepEqual(await readKey(disk), next, "the one that follows it is written over it");
  for (const wrong of [recordOf(SEED).with(30, 1), recordOf(SEED).with(3, 1), recordOf(SEED).subarray(0, 100), new Uint8Array(512).fill(1)]) {
    assert.throws(() => parseRecord(wrong), (error) => codeOf(error) === "key_partition_foreign");
  }
  await writeFile(disk, "somebody's file system".padEnd(512));
  await rejectsWith(writeKey(disk, SEED), "key_partition_foreign");
});

test("a TPM gives the key out as long as PCR 7 is what it was when the key was sealed", async (t) => {
  if (!needs(t, "swtpm")) return;
  const wire = await softwareTpm(t);
  assert.equal(await readSecret(wire), null);
  await writeSecret(wire, SEED);
  assert.deepEqual(await readSecret(wire), SEED);
  assert.deepEqual(await readSecret(wire), SEED, "and again: no session is left behind");
  const next = new Uint8Array(32).fill(8);
  await writeSecret(wire, next);
  assert.deepEqual(await readSecret(wire), next, "another key is written over it");
  // TPM2_PCR_Extend of PCR 7 with a SHA-256 of ones, under an empty password.
  const extend = Uint8Array.fromHex(`80020000004100000182${"00000007"}00000009400000090000000000${"00000001000b"}${"11".repeat(32)}`);
  assert.equal(new DataView((await wire(extend)).slice().buffer).getUint32(6), 0);
  for (let again = 0; again < 5; again++) await rejectsWith(readSecret(wire), "tpm_sealed");
});

test("what a TPM answers is not believed", async () => {
  for (const answer of ["", "8001", "80010000000a00000000", `8001000000ff00000000${"00".repeat(4)}`]) await rejectsWith(readSecret(async () => Uint8Array.fromHex(answer)), "tpm_broken");
  await rejectsWith(readSecret(async () => Uint8Array.fromHex("80010000000a00000101")), "tpm_refused");
});

async function softwareTpm(t: TestContext): Promise<TpmWire> {
  const state = await folder(t);
  const path = join(state, "socket");
  const child = spawn("swtpm", ["socket", "--tpm2", "--server", `type=unixio,path=${path}`, "--tpmstate", `dir=${state}`, "--flags", "not-need-init,startup-clear"], { stdio: "ignore" });
  t.after(() => void child.kill("SIGKILL"));
  for (const until = performance.now() + WAIT_MS_MAX; ; await sleep(50)) {
    const socket = await new Promise<ReturnType<typeof createConnection> | null>((resolve) => {
      const tried = createConnection(path, () => resolve(tried)).once("error", () => resolve(null));
    });
    if (socket !== null) {
      t.after(() => void socket.destroy());
      return async (command) => {
        const answer = new Promise<Uint8Array>((resolve) => socket.once("data", resolve));
        socket.write(command);
        return await answer;
      };
    }
    assert.ok(performance.now() < until && child.exitCode === null, "the TPM does not come up");
  }
}
