import assert from "node:assert/strict";
import { statfs } from "node:fs/promises";
import { test } from "node:test";
import { validatorSet } from "#chain/codec/certificate.ts";
import { publicKeyOf } from "#chain/crypto.ts";
import type { PeerId, Transport } from "#chain/network/transport.ts";
import { epoch } from "#chain/types.ts";
import { chainRig } from "#tests/compliance/chainRig.ts";
import { ManualClock } from "#tests/compliance/manualClock.ts";
import { site } from "#tests/compliance/site.ts";
import { Keepers, isOnDisk } from "./keepers.ts";
import { KEEPERS_ASKED_EVERY_MS } from "./limits.ts";
import { peerIdOf } from "./node.ts";

test("validators say whether a disk keeps their state: asked when they come and once a minute, their last word stays, and others' counts for nothing", () => {
  const rig = chainRig({ validators: 4 });
  const set = validatorSet(rig.chainId, epoch(0), rig.validators.map(({ seed }, index) => ({ publicKey: publicKeyOf(seed), weight: index + 1 })));
  const [, one, two, three] = rig.validators.map(({ seed }) => peerIdOf(seed)) as [PeerId, PeerId, PeerId, PeerId];
  const stranger = peerIdOf(rig.operator.seed);
  const clock = new ManualClock();
  const asked: PeerId[] = [];
  const transport = { peers: () => [one, two, stranger], send: (to: PeerId) => asked.push(to) > 0 } as unknown as Transport;
  const keepers = new Keepers({ transport, clock, validators: () => set, self: () => 0, keepsState: () => true });
  keepers.start();
  assert.deepEqual(asked.splice(0), [one, two]);
  assert.deepEqual(keepers.kept(), { weight: 1, weightKnown: 1, weightMin: 4, weightAll: 10 });
  keepers.note(one, true);
  keepers.note(two, false);
  keepers.note(stranger, true);
  assert.deepEqual(keepers.kept(), { weight: 3, weightKnown: 6, weightMin: 4, weightAll: 10 });
  keepers.ask(three);
  keepers.ask(stranger);
  assert.deepEqual(asked.splice(0), [three]);
  keepers.note(three, true);
  clock.advance(KEEPERS_ASKED_EVERY_MS);
  assert.deepEqual(asked.splice(0), [one, two]);
  assert.deepEqual(keepers.kept(), { weight: 7, weightKnown: 10, weightMin: 4, weightAll: 10 }, "three is not connected any more; its disk is there");
  keepers.stop();
  clock.advance(KEEPERS_ASKED_EVERY_MS);
  assert.deepEqual(asked, []);
});

test("nodes know of each other what a disk keeps, and a folder in memory is none", async (t) => {
  const { open, run, directory } = await site(t, 2);
  const first = await open(0);
  assert.deepEqual([first.status().stateKept.weightKnown, first.status().stateKept.weightAll], [1, 2]);
  const second = await open(1);
  await run(() => [first, second].every((node) => node.status().stateKept.weightKnown === 2));
  const onDisk = await isOnDisk(directory(0));
  assert.deepEqual(first.status().stateKept, { weight: onDisk ? 2 : 0, weightKnown: 2, weightMin: 1, weightAll: 2 });
  // Linux has a folder of its own for that; where it was taken away there is none to show it by.
  const memory = await statfs("/dev/shm").catch(() => null);
  if (memory?.type === 0x0102_1994) assert.equal(await isOnDisk("/dev/shm"), false);
});
