/** Planted bugs of consensus: those of the design report, §1.6, and one for most other rules. */

import type { Mutant } from "../mutants.ts";

export const CONSENSUS_MUTANTS: readonly Mutant[] = [
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
    name: "no second asking for what is missing", scenario: "a third of all messages is lost", seedsMax: 80,
    edits: [
      { file: "consensus/blocks.ts", from: "if (state.requests.size > 0) armRequestTimer(turn);", to: "" },
      { file: "consensus/blocks.ts", from: "if (leftMs > 0n && leftMs <= BigInt(waitMs(pace, open.attempt))) continue;", to: "continue;" },
    ],
  },
  {
    name: "silence at standstill", scenario: "a third of all messages is lost", seedsMax: 20,
    edits: [{ file: "consensus/standstill.ts", from: "if (!still || state.configuration.self === null) return;", to: "return;" }],
  },
  {
    name: "a vote on disk without the certificate that permits it", scenario: "blackout and a loss", seedsMax: 100,
    edits: [{ file: "consensus/step.ts", from: "for (const certificate of event.certificates) admit(turn, certificate);", to: "" }],
  },
  {
    name: "the vote leaves before it is on disk", scenario: "restarts", seedsMax: 5,
    edits: [{
      file: "consensus/ballots.ts", from: '  turn.effects.push({ kind: "persist", vote, certificate: permitting(turn.state, vote) });\n',
      to: '  turn.effects.push({ kind: "broadcast", message: { kind: "vote", vote: { ...vote, validator: configuration.self!, signature: new Uint8Array(64) as any } } });\n  turn.effects.push({ kind: "persist", vote, certificate: null });\n',
    }],
  },
  {
    name: "the view timer does not grow", scenario: "a network slower than delta", seedsMax: 20,
    edits: [{ file: "consensus/pacing.ts", from: "k < viewsSinceFinal && grace", to: "k < 0 && grace" }],
  },
  {
    name: "whoever lost its vote log votes at once", scenario: "no disk, again and again", seedsMax: 60,
    edits: [{ file: "consensus/rejoin.ts", from: "  state.rejoin = { nonce: memory.nonce, answers: new Map() };\n  ask(turn);", to: "" }],
  },
  {
    name: "whoever rejoins is not mute one view beyond", scenario: "no disk, again and again", seedsMax: 60,
    edits: [{ file: "consensus/rejoin.ts", from: "Math.max(most, of), 0) + 1);", to: "Math.max(most, of), 0));" }],
  },
  {
    name: "who rejoins believes any answer", scenario: "liar in sync, no disk, of seven", seedsMax: 60,
    edits: [{ file: "consensus/rejoin.ts", from: ".filter(([, of]) => of <= state.highest + 1 + weights.length)", to: "" }],
  },
  {
    name: "who rejoins answers others who rejoin", scenario: "more than a third forget at once", seedsMax: 60,
    edits: [{ file: "consensus/rejoin.ts", from: "|| state.configuration.self === null || state.rejoin !== null) return null;", to: "|| state.configuration.self === null) return null;" }],
  },
  {
    name: "an epoch that goes on after its last block", scenario: "epochs", seedsMax: 5,
    edits: [{ file: "consensus/rules.ts", from: "if (child.block.height === state.configuration.lastHeight) seal(turn, target);\n  else prune(state);", to: "prune(state);" }],
  },
  {
    name: "a finalized seal is committed", scenario: "epochs", seedsMax: 60,
    edits: [{ file: "consensus/rules.ts", from: "if (child.block.height === state.configuration.lastHeight) seal", to: "if (child.block.height > state.configuration.lastHeight || (child.block.height === state.configuration.lastHeight && target.view === child.block.view)) seal" }],
  },
  {
    name: "evidence for a nullification after a notarization", scenario: "honest", seedsMax: 5,
    edits: [{ file: "consensus/ballots.ts", from: 'case "nullify": return ballot.finalize;', to: 'case "nullify": return ballot.finalize ?? ballot.notarize;' }],
  },
  {
    name: "what is final is never forgotten", scenario: "honest", seedsMax: 5,
    edits: [{ file: "consensus/rules.ts", from: "for (const [of] of state.records) if (of <= view - VIEWS_BEHIND_KEPT) state.records.delete(of);", to: "" }],
  },
];
