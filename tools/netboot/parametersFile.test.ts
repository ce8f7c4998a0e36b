import assert from "node:assert/strict";
import { mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { Mac } from "#os/boot/addresses.ts";
import { codeOf } from "#os/error.ts";
import { openParameters } from "./parametersFile.ts";

const MAC = "52:54:00:00:00:01" as Mac;

test("a machine that is written into the file counts for whoever asks, a second later at most; a wrong file is told once", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "godwit-parameters-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, "machines.toml");
  let [writes, nowMs] = [0, 0];
  const write = (text: string): void => {
    writeFileSync(file, text);
    utimesSync(file, ++writes, writes);
  };
  write('unknown = "ignore"\n');
  const lines: string[] = [];
  const { current, isNamed } = await openParameters(file, "", (line) => void lines.push(line), () => nowMs);
  write(`unknown = "ignore"\n[machine."${MAC}"]\naddress = "10.0.0.10"\n`);
  nowMs = 999;
  assert.equal(current().machines.has(MAC), false);
  nowMs = 1_000;
  assert.equal(current().machines.get(MAC)?.address, "10.0.0.10");
  write("unknown = 5\n");
  for (nowMs = 2_000; nowMs < 6_000; nowMs += 500) assert.equal(current().machines.has(MAC), true);
  rmSync(file);
  assert.equal(await isNamed(MAC), true);
  assert.equal(lines.length, 2, lines.join("\n"));
  write('unknown = "ignore"\n');
  assert.equal(await isNamed(MAC), false);
  await assert.rejects(openParameters(join(folder, "none"), "", () => {}), (error) => codeOf(error) === "parameters_unknown");
});
