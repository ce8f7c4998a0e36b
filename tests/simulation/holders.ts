/**
 * Histories of holders by seed, for planted bugs: what accounts do with their tokens, over epochs, in one ledger. Judged by the ledger's own
 * sums after each block, and at the end by the audit, which reads the rules a second time (tools/auditHolders.ts, tools/auditStake.ts).
 */
import { bitmapOf } from "#chain/codec/quorum.ts";
import { apiOf, blocksOf } from "#tests/ledger/fakeApi.ts";
import { holdAtRandom } from "#tests/ledger/randomHolders.ts";
import { TOKEN, World, type WorldCode, actor, random } from "#tests/ledger/world.ts";
import { audit } from "#tools/audit.ts";

const HOLDERS = [1, 2, 3, 4].map(actor);
/** Six epochs. */
const BLOCKS = 370;

export async function playHolders(seed: number, code: WorldCode): Promise<readonly string[]> {
  const r = random(seed);
  try {
    const world = new World({ accounts: HOLDERS.length, balance: 100n * TOKEN, signed: true, code });
    for (let k = 0; k < BLOCKS; k++) {
      for (let i = r.int(4); i > 0; i--) holdAtRandom(r, world, HOLDERS);
      const members = world.view.validatorsOf(world.view.epoch)!.length;
      world.block(r.pick([0, 1, 3, 10, 30]), { parentBitmap: bitmapOf(Array.from({ length: members }, (_, index) => index).filter(() => r.int(3) > 0), members), proposer: r.int(members) });
    }
    return (await audit(apiOf(world, blocksOf(world)))).findings;
  } catch (error) {
    return [error instanceof Error ? error.message : String(error)];
  }
}
