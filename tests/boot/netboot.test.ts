/** One machine netbooted from our own server, by iPXE, until it serves; the other ways are rows of `npm run test:boot`. */
import assert from "node:assert/strict";
import test from "node:test";
import { addressText } from "#chain/codec/address.ts";
import { keyPair } from "#os/keys.ts";
import { needs } from "#tests/require.ts";
import { imageForTests } from "./image.ts";
import { NETBOOT_WAYS, addressOfGuest, macOf, openNetbootLab } from "./netbootLab.ts";

/** A computer that is busy and slow takes ten times as long as one that is not. */
const ANSWER_MS_MAX = 300_000;

test("a machine netboots by iPXE from our own server, and answers", { timeout: 900_000 }, async (t) => {
  if (!needs(t, "root", "qemu")) return;
  const image = await imageForTests(t, { target: "netboot" });
  if (image === null) return;
  const owner = addressText(keyPair(new Uint8Array(32).fill(5)).address);
  await using lab = await openNetbootLab(image, 1, `no_timer_check panic=-1 godwit.alone=${owner}`);
  const begun = performance.now();
  const guest = await lab.boot(1, NETBOOT_WAYS[0]!);
  await guest.seen(/ kernel +\d+ ms guest1/, ANSWER_MS_MAX);
  await guest.seen(new RegExp(` address +\\d+ ms eth0 ${addressOfGuest(1).replaceAll(".", "\\.")}/24`), ANSWER_MS_MAX);
  const answer = await lab.get(`http://${addressOfGuest(1)}:7480/healthz`);
  assert.match(String(answer?.status), /^(200|503)$/);
  t.diagnostic(`power-on to /healthz: ${((performance.now() - begun) / 1000).toFixed(1)} s`);
  const stages = lab.rows.filter(({ mac }) => mac === macOf(1)).map(({ stage }) => stage);
  for (const stage of ["asked", "loading", "loaded", "running"]) assert(stages.includes(stage), stages.join(" "));
});
