/**
 * Planted bugs: consensus with one rule taken out of its source as it is loaded. The product has no switch for it, and a rule
 * that is reworded so that the plant no longer fits fails the test instead of quietly planting nothing.
 */

import { registerHooks } from "node:module";
import { CONSENSUS } from "./world.ts";
import type { Consensus } from "./world.ts";

export type Mutant = {
  readonly name: string;
  readonly scenario: string;
  /** Seeds within which it must be found. */
  readonly seedsMax: number;
  readonly edits: readonly { readonly file: string; readonly from: string; readonly to: string }[];
};

export const MUTANTS: readonly Mutant[] = [
  {
    name: "a quorum one short", scenario: "equivocator", seedsMax: 20,
    edits: [{ file: "consensus/state.ts", from: "quorum: quorumOf(weightSum),", to: "quorum: quorumOf(weightSum) - 1," }],
  },
  {
    name: "no check of the nullifications between parent and child", scenario: "equivocator", seedsMax: 80,
    edits: [{ file: "consensus/rules.ts", from: "if (state.records.get(of)?.nullification) continue;\n    requestCertificate", to: "continue;\n    requestCertificate" }],
  },
  {
    name: "finalize after nullify", scenario: "equivocator", seedsMax: 20,
    edits: [
      { file: "consensus/ballots.ts", from: "if (own.nullify || own.finalize !== null || !maySign(turn.state, record.view)) return;", to: "if (own.finalize !== null) return;" },
      { file: "consensus/ballots.ts", from: "    assert(sameId(own.notarize, id));\n    assert(!own.nullify);\n", to: "" },
    ],
  },
  {
    name: "notarize twice", scenario: "equivocator", seedsMax: 20,
    edits: [
      { file: "consensus/rules.ts", from: "|| record.own.notarize !== null || record.own.nullify) return false;\n  for", to: "|| record.own.nullify) return false;\n  for" },
      { file: "consensus/rules.ts", from: "for (const block of record.proposals) {", to: "for (const block of record.proposals) {\n    if (record.own.notarize !== null && (block === record.proposals[0] || sameId(block.id, record.own.notarize))) continue;" },
      { file: "consensus/ballots.ts", from: "    assert(own.notarize === null);\n", to: "" },
    ],
  },
  {
    name: "finalize what one has not notarized", scenario: "equivocator", seedsMax: 20,
    edits: [
      { file: "consensus/ballots.ts", from: "if (notarization === null || own.notarize === null || !sameId(own.notarize, notarization.id)) return;", to: "if (notarization === null || record.view <= turn.state.final.view || turn.state.configuration.self === null) return;" },
      { file: "consensus/ballots.ts", from: "    assert(sameId(own.notarize, id));\n", to: "" },
    ],
  },
  {
    name: "a vote log that is not read at start", scenario: "restarts", seedsMax: 60,
    edits: [{ file: "consensus/step.ts", from: "for (const vote of event.votes) {\n    if", to: "for (const vote of []) {\n    if" },
      { file: "consensus/step.ts", from: "for (const vote of event.votes) if (vote.view > state.final.view) count(turn, vote);", to: "" }],
  },
  {
    name: "nullify what the vote log says is finalized", scenario: "restarts", seedsMax: 60,
    // The notarization on disk with a finalize vote would end the view before: without it the rule stands alone.
    edits: [
      { file: "consensus/step.ts", from: "for (const certificate of event.certificates) admit(turn, certificate);", to: "" },
      { file: "consensus/rules.ts", from: "if (record.own.nullify || record.own.finalize !== null) return false;", to: "if (record.own.nullify) return false;" },
      { file: "consensus/ballots.ts", from: "    assert(!own.nullify);\n    assert(own.finalize === null);\n    own.nullify = true;", to: "    own.nullify = true;" },
    ],
  },
  {
    name: "commit before the block has executed", scenario: "honest", seedsMax: 5,
    edits: [{ file: "consensus/rules.ts", from: "if (!isValid(turn, child)) return child.status", to: "if (false) return child.status" }],
  },
  {
    name: "a block of any height is taken", scenario: "equivocator", seedsMax: 20,
    edits: [{ file: "consensus/blocks.ts", from: "&& child.height === parent.height + 1 &&", to: "&&" }],
  },
  {
    name: "no second asking for what is missing", scenario: "healing", seedsMax: 80,
    edits: [
      { file: "consensus/blocks.ts", from: "if (state.requests.size > 0) armRequestTimer(turn);", to: "" },
      { file: "consensus/blocks.ts", from: "if (leftMs > 0n && leftMs <= BigInt(graceMs(pace, open.attempt))) continue;", to: "continue;" },
    ],
  },
  {
    name: "silence at standstill", scenario: "healing", seedsMax: 20,
    edits: [{ file: "consensus/standstill.ts", from: "if (!still || state.configuration.self === null) return;", to: "return;" }],
  },
  {
    name: "a vote on disk without the certificate that permits it", scenario: "blackout and a loss", seedsMax: 60,
    edits: [{ file: "consensus/step.ts", from: "for (const certificate of event.certificates) admit(turn, certificate);", to: "" }],
  },
  {
    name: "the vote leaves before it is on disk", scenario: "restarts", seedsMax: 5,
    edits: [{
      file: "consensus/ballots.ts", from: '  turn.effects.push({ kind: "persist", vote, certificate: permitting(turn.state, vote) });\n',
      to: '  turn.effects.push({ kind: "broadcast", message: { kind: "vote", vote: { ...vote, validator: configuration.self!, signature: new Uint8Array(64) as any } } });\n  turn.effects.push({ kind: "persist", vote, certificate: null });\n',
    }],
  },
];

const planted = new Map<string, { mutant: Mutant; applied: number }>();

registerHooks({
  resolve(specifier, context, nextResolve) {
    const resolved = nextResolve(specifier, context);
    const plant = context.parentURL === undefined ? null : new URL(context.parentURL).searchParams.get("plant");
    if (plant === null || !resolved.url.includes("/chain/consensus/") || resolved.url.includes("?")) return resolved;
    return { ...resolved, url: `${resolved.url}?plant=${plant}` };
  },
  load(url, context, nextLoad) {
    const plant = new URL(url).searchParams.get("plant");
    const entry = plant === null ? undefined : planted.get(plant);
    const loaded = nextLoad(url, context);
    if (!entry) return loaded;
    let source = typeof loaded.source === "string" ? loaded.source : new TextDecoder().decode(loaded.source as Uint8Array);
    for (const edit of entry.mutant.edits) {
      if (!new URL(url).pathname.endsWith(`/chain/${edit.file}`)) continue;
      if (source.split(edit.from).length !== 2) throw new Error(`the plant "${entry.mutant.name}" fits ${edit.file} ${source.split(edit.from).length - 1} times`);
      source = source.replace(edit.from, () => edit.to);
      entry.applied += 1;
    }
    return { ...loaded, source };
  },
});

export async function plant(mutant: Mutant): Promise<Consensus> {
  const key = String(planted.size);
  const entry = { mutant, applied: 0 };
  planted.set(key, entry);
  const modules = await Promise.all(["state", "step"].map((file) => import(`../../chain/consensus/${file}.ts?plant=${key}`)));
  if (entry.applied !== mutant.edits.length) throw new Error(`the plant "${mutant.name}" was applied ${entry.applied} times`);
  return { ...CONSENSUS, ...(modules[0] as object), ...(modules[1] as object) };
}
