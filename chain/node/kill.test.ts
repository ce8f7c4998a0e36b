import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { chainIdOf } from "#chain/codec/genesis.ts";
import { publicKeyOf } from "#chain/crypto.ts";
import { hex } from "#chain/types.ts";
import { chainRig } from "#tests/compliance/chainRig.ts";
import { OPTIONS } from "#tests/compliance/voteLogProcess.ts";
import { replay } from "./replay.ts";
import { VoteLog } from "./voteLog.ts";

const KINDS = ["notarize", "nullify", "finalize"];

async function folder(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "godwit-kill-"));
  t.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** Runs a script until it has said a random number of lines, and a moment longer, and kills it: what it said. */
async function killed(script: string, args: readonly string[], linesMax: number): Promise<string[]> {
  const child = spawn(process.execPath, [new URL(`../../tests/compliance/${script}`, import.meta.url).pathname, ...args], { stdio: ["ignore", "pipe", "inherit"] });
  let said = "";
  const over = once(child, "close");
  const lines = 1 + Math.floor(Math.random() * linesMax);
  await new Promise<void>((resolve) => {
    child.once("close", resolve);
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      said += text;
      if (said.split("\n").length > lines) resolve();
    });
  });
  await sleep(Math.random() * 15);
  child.kill("SIGKILL");
  const [code, signal] = await over as [number | null, string | null];
  assert.equal(signal, "SIGKILL", `the process ended by itself with ${code}: ${said.slice(-500)}`);
  // A line that was cut off by the kill was not said.
  return said.split("\n").slice(0, -1);
}

async function killOften(t: TestContext, validators: number, times: number, linesMax: number): Promise<void> {
  const directory = await folder(t);
  const startMs = Date.now() - 1_000;
  const rig = chainRig({ validators, tenants: 8, startMs });
  const rootAt = new Map<number, string>();
  const signed = new Map<string, string>();
  let finals = 0;
  let replayed: Awaited<ReturnType<typeof replay>>[] = [];
  const sign = (key: string, id: string): void => {
    assert.equal(signed.get(key) ?? id, id, `signed twice: ${key}`);
    signed.set(key, id);
  };
  for (let life = 0; life < times; life++) {
    for (const line of await killed("nodeProcess.ts", [directory, String(validators), String(startMs)], linesMax)) {
      const [what, index, a, b, c] = line.split(" ");
      if (what === "vote") sign(`${index}/${a}/${b}`, c!);
      else if (what === "open" && replayed.length > 0) assert.deepEqual([Number(a), b], [replayed[Number(index)]!.height as number, hex(replayed[Number(index)]!.stateRoot)], "opens with the root that replay gives");
      else if (what === "final") {
        assert.equal(rootAt.get(Number(a)) ?? b, b, `two roots at height ${a}`);
        rootAt.set(Number(a), b!);
        finals++;
      }
    }
    replayed = [];
    for (const [index, { seed }] of rig.validators.entries()) {
      const own = join(directory, String(index));
      const end = await replay(own);
      replayed.push(end);
      assert.equal(rootAt.get(end.height) ?? hex(end.stateRoot), hex(end.stateRoot), "replay gives the root that was final");
      const log = await VoteLog.open(join(own, "votes"), { chainId: chainIdOf(rig.genesis), publicKey: publicKeyOf(seed), mustExist: true });
      const logged = new Set(log.votes().map((vote) => {
        sign(`${index}/${vote.view}/${KINDS[vote.kind]}`, vote.id.length > 0 ? vote.id.toHex() : "-");
        return `${index}/${vote.view}/${KINDS[vote.kind]}`;
      }));
      const lost = [...signed.keys()].filter((key) => key.startsWith(`${index}/`) && Number(key.split("/")[1]) > log.floorView && !logged.has(key));
      await log.close();
      if (log.floorView === 0) assert.deepEqual(lost, [], "every vote that left is in the log");
    }
  }
  assert.ok(finals > 0, "blocks became final");
  t.diagnostic(`${times} kills, ${signed.size} votes, ${rootAt.size} heights, ${replayed[0]!.transactions} transactions`);
}

describe("kill -9", { concurrency: true }, () => {
  test("of a lone validator under load, ten times: the same root, nothing signed twice", (t) => killOften(t, 1, 10, 9));

  test("of four validators at once, four times: what was final stays, nothing signed twice", (t) => killOften(t, 4, 4, 45));

  test("of a vote log that is being rewritten, six times: no vote that was on the disk is forgotten, nor what permits it", async (t) => {
    const path = join(await folder(t), "votes");
    for (let life = 0; life < 6; life++) {
      const views = (await killed("voteLogProcess.ts", [path], 100)).map(Number);
      const log = await VoteLog.open(path, OPTIONS);
      const logged = new Set(log.votes().map((vote) => vote.view));
      for (const view of views) assert.ok(view <= log.floorView || logged.has(view), `view ${view} of ${views.length}`);
      // The process forgets what is final one view below the vote.
      if (views.length > 0) assert.ok(log.certificates().some((certificate) => certificate.view === views.at(-1)), `certificate of view ${views.at(-1)}`);
      await log.close();
    }
  });
});
