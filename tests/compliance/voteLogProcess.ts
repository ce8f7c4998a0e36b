/**
 * A process to be killed: `voteLogProcess.ts PATH` signs view after view into a vote log that it rewrites all the time, and
 * says each view once its vote is on the disk.
 */
import { writeSync } from "node:fs";
import { publicKeyOf, sha256 } from "#chain/crypto.ts";
import { NOTARIZE, VoteLog, type VoteLogOptions } from "#chain/node/voteLog.ts";
import { chainId } from "#chain/types.ts";

export const OPTIONS: VoteLogOptions = { chainId: chainId(new Uint8Array(8)), publicKey: publicKeyOf(new Uint8Array(32)), mustExist: false, bytesMax: 4096 };

if (import.meta.main) {
  const log = await VoteLog.open(process.argv[2]!, OPTIONS);
  let view = Math.max(log.floorView, ...log.votes().map((vote) => vote.view));
  for (;;) {
    view++;
    const block = { epoch: 0, view, height: view, id: sha256(Uint8Array.of(view & 0xff)), bytes: new Uint8Array(400) };
    await log.record({ epoch: 0, view, kind: NOTARIZE, id: block.id, bytes: new Uint8Array(90) }, block, { epoch: 0, view, kind: NOTARIZE, bytes: new Uint8Array(200) });
    writeSync(1, `${view}\n`);
    await log.forget(0, view - 1, view - 1);
  }
}
