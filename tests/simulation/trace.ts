/**
 * A second reading of the rules: takes the log of a run, simulated or real (`chain/node/trace.ts` says its form), keeps what each
 * node has seen, and says for every action which rule it obeyed. An action that no rule allows is a violation.
 *
 * Written from the rules' text, not from `consensus/`, of which it imports nothing; it knows no timers' lengths and no order of
 * rules, only what must have been seen before what. R11 binds it over all lives of a node.
 */

type Id = string;
type Ref = { readonly id: Id; readonly view: number; readonly height: number; readonly parentView: number; readonly parentId: Id; readonly timeMs: string };
type Kind = "notarize" | "nullify" | "finalize";
type Vote = { readonly kind: Kind; readonly epoch: number; readonly view: number; readonly id: Id | null; readonly validator: number };
type Certificate = { readonly kind: Kind; readonly epoch: number; readonly view: number; readonly id: Id | null; readonly bitmap: string };
type Message = { readonly kind: string; readonly vote?: Vote; readonly certificate?: Certificate; readonly id?: Id; readonly justification?: readonly Certificate[] };
type Happened = {
  readonly kind: string; readonly final?: Ref; readonly votes?: readonly Vote[]; readonly certificates?: readonly Certificate[]; readonly blocks?: readonly Ref[];
  readonly finalization?: Certificate | null; readonly memory?: { readonly kind: string; readonly upTo?: number; readonly nonce?: string };
  readonly block?: Ref; readonly vote?: Vote; readonly certificate?: Certificate; readonly id?: Id; readonly valid?: boolean; readonly timer?: string; readonly view?: number;
  readonly validator?: number; readonly suspected?: boolean; readonly nonce?: string;
};
type Action = Happened & {
  readonly message?: Message; readonly parent?: Ref; readonly timeMs?: string; readonly upTo?: number; readonly request?: { readonly kind: string; readonly id?: Id };
  readonly evidence?: { readonly kind: string; readonly validator: number; readonly view?: number; readonly a: Vote | Id; readonly b: Vote | Id };
};
type Opening = { readonly node: number; readonly epoch: number; readonly weights: readonly number[]; readonly self: number | null; readonly leaders: readonly number[]; readonly lastHeight: number; readonly blockIntervalMsMin: number; readonly clockSkewMsMax: number };
type Step = { readonly node: number; readonly nowMs: string; readonly event: Happened; readonly effects: readonly Action[] };

export type Violation = { readonly line: number; readonly node: number; readonly action: string; readonly why: string };

/** What one node has seen in one epoch of one life. */
type Seen = {
  readonly opening: Opening;
  readonly blocks: Map<Id, Ref>;
  readonly valid: Map<Id, boolean>;
  readonly proposals: Map<number, Id[]>;
  readonly built: Set<Id>;
  readonly certificates: Map<string, Set<Id | null>>;
  readonly votes: Map<string, Map<number, Vote[]>>;
  readonly onDisk: Set<string>;
  readonly timedOut: Set<number>;
  readonly suspected: Set<number>;
  readonly newestVote: Map<number, number>;
  readonly answers: Map<number, number>;
  final: Ref;
  highest: number;
  mute: number;
  nonce: string | null;
  isSealed: boolean;
};

export class Trace {
  readonly violations: Violation[] = [];
  /** How many actions obeyed which rule. */
  readonly obeyed: Map<string, number> = new Map();
  readonly #seen = new Map<number, Seen>();
  /** What a node ever signed, over its lives: by node, epoch and view. Who rejoins has forgotten it, and is held to it all the same. */
  readonly #own = new Map<string, Map<Kind, Id | null>>();
  #line = 0;

  read(text: string): void {
    this.#line += 1;
    const line = JSON.parse(text) as Opening | Step;
    if (!("event" in line)) return void this.#seen.set(line.node, opened(line));
    const seen = this.#seen.get(line.node);
    if (!seen) throw new Error(`line ${this.#line}: a step of node ${line.node}, of which no instance was opened`);
    note(seen, line.event);
    for (const action of line.effects) {
      const verdict = this.#judge(seen, line, action);
      if (/^R\d/.test(verdict)) this.obeyed.set(verdict, (this.obeyed.get(verdict) ?? 0) + 1);
      else this.violations.push({ line: this.#line, node: line.node, action: describe(action), why: verdict });
      afterwards(seen, action);
    }
  }

  /** The rule, or what stands against it. */
  #judge(seen: Seen, { node, nowMs, event }: Step, action: Action): string {
    switch (action.kind) {
      case "persist": return this.#judgeVote(seen, node, nowMs, action.vote!);
      case "broadcast": return judgeMessage(seen, event, action.message!);
      case "build": return judgeBuild(seen, action);
      case "validate": return isSettled(seen, seen.blocks.get(action.block!.id)?.parentId ?? "") ? "R3" : "its parent was not executed";
      case "commit": return judgeCommit(seen, action.block!);
      case "sealed": return seen.final.height === seen.opening.lastHeight ? "R14" : "the epoch's last block is not final";
      case "muted": return judgeMute(seen, action.upTo!);
      case "evidence": return judgeEvidence(seen, action.evidence!);
      case "request": return action.request!.kind === "blockRequest" && seen.blocks.has(action.request!.id!) ? "it has that block" : "R10";
      case "behind": case "halt": return "R8";
      case "timer": return action.timer === "standstill" ? "R9" : action.timer === "request" ? "R10" : action.timer === "rejoin" ? "R12" : "R1";
      default: return `no rule knows ${action.kind}`;
    }
  }

  #judgeVote(seen: Seen, node: number, nowMs: string, vote: Vote): string {
    const { kind, view, id, epoch } = vote;
    const key = `${node} ${epoch} ${view}`;
    const own = this.#own.get(key) ?? new Map<Kind, Id | null>();
    this.#own.set(key, own);
    if (seen.opening.self === null) return "it is no validator";
    if (seen.isSealed) return "the epoch is over";
    if (seen.nonce !== null || view <= seen.mute) return "it is mute";
    if (view <= seen.final.view) return "the view is below what is final";
    const stands = own.has(kind) ? `it has signed ${kind} in this view before` : against(own, kind, id);
    own.set(kind, id);
    if (stands !== null) return stands;
    if (kind === "finalize") return holds(seen, "notarize", view, id) ? "R5" : "what it finalizes is not notarized";
    if (view !== seen.highest + 1) return `the view is ${seen.highest + 1}`;
    if (kind === "nullify") return whyNullify(seen, view, nowMs);
    const block = seen.blocks.get(id!);
    if (!block) return "it does not have the block";
    const isOwn = seen.built.has(id!);
    if (isOwn ? leaderOf(seen, view) !== seen.opening.self : !seen.proposals.get(view)?.includes(id!)) return "its leader did not propose it";
    // Its own block's time is bounded by the others' clocks, not by its own.
    const wrong = wrongWith(seen, block, isOwn ? block.timeMs : nowMs);
    if (wrong !== null) return wrong;
    return seen.valid.get(id!) === true ? (isOwn ? "R2" : "R3") : "it was not executed, or was wrong";
  }
}

/** What a node signed before that forbids this vote. */
function against(own: ReadonlyMap<Kind, Id | null>, kind: Kind, id: Id | null): string | null {
  if (kind === "notarize") return own.has("nullify") ? "it gave the view up" : null;
  if (kind === "nullify") return own.has("finalize") ? "it has finalized the view" : null;
  if (own.has("nullify")) return "it gave the view up";
  return own.get("notarize") === id ? null : "it has not notarized that block";
}

// ---- What a node has seen --------------------------------------------------------------------------------------------------

function opened(opening: Opening): Seen {
  const nothing: Ref = { id: "", view: 0, height: 0, parentView: 0, parentId: "", timeMs: "0" };
  return {
    opening, blocks: new Map(), valid: new Map(), proposals: new Map(), built: new Set(), certificates: new Map(), votes: new Map(), onDisk: new Set(), timedOut: new Set(),
    suspected: new Set(), newestVote: new Map(), answers: new Map(), final: nothing, highest: 0, mute: 0, nonce: null, isSealed: false,
  };
}

function note(seen: Seen, event: Happened): void {
  for (const certificate of event.certificates ?? []) noteCertificate(seen, certificate);
  if (event.certificate) noteCertificate(seen, event.certificate);
  if (event.finalization) noteCertificate(seen, event.finalization);
  if (event.block) seen.blocks.set(event.block.id, event.block);
  switch (event.kind) {
    case "start": return noteStart(seen, event);
    case "proposal": return void seen.proposals.set(event.block!.view, [...(seen.proposals.get(event.block!.view) ?? []), event.block!.id]);
    case "vote": return noteVote(seen, event.vote!);
    case "persisted":
      seen.onDisk.add(nameOf(event.vote!));
      return noteVote(seen, event.vote!);
    case "built":
      seen.built.add(event.block!.id);
      return void seen.valid.set(event.block!.id, true);
    case "validated": return void seen.valid.set(event.id!, event.valid!);
    case "timer":
      if (event.timer === "view") seen.timedOut.add(event.view!);
      return;
    case "suspected": return void (event.suspected ? seen.suspected.add(event.validator!) : seen.suspected.delete(event.validator!));
    case "status":
      if (event.nonce === seen.nonce && event.validator !== seen.opening.self) seen.answers.set(event.validator!, event.view!);
      return;
    case "synced":
      seen.final = event.final!;
      seen.highest = Math.max(seen.highest, event.final!.view);
      return;
  }
}

function noteStart(seen: Seen, { final, votes, blocks, memory }: Happened): void {
  seen.final = final!;
  seen.highest = Math.max(seen.highest, final!.view);
  seen.blocks.set(final!.id, final!);
  for (const block of blocks!) {
    seen.blocks.set(block.id, block);
    // R11: what it proposed in an earlier life it may send again.
    if (votes!.some((vote) => vote.kind === "notarize" && vote.id === block.id)) seen.built.add(block.id);
  }
  for (const vote of votes!) {
    seen.onDisk.add(nameOf(vote));
    noteVote(seen, vote);
  }
  if (memory!.kind === "mute") seen.mute = memory!.upTo!;
  if (memory!.kind === "lost") seen.nonce = memory!.nonce!;
}

function noteVote(seen: Seen, vote: Vote): void {
  seen.newestVote.set(vote.validator, Math.max(vote.view, seen.newestVote.get(vote.validator) ?? 0));
  const key = `${vote.kind} ${vote.view}`;
  const ballots = seen.votes.get(key) ?? new Map<number, Vote[]>();
  seen.votes.set(key, ballots);
  // R4: the first of a kind counts; the others are kept for R13.
  ballots.set(vote.validator, [...(ballots.get(vote.validator) ?? []), vote]);
  const weight = [...ballots].reduce((sum, [validator, cast]) => sum + (cast[0]!.id === vote.id ? seen.opening.weights[validator]! : 0), 0);
  if (weight >= quorum(seen)) noteHeld(seen, vote.kind, vote.view, vote.id);
}

function noteCertificate(seen: Seen, { kind, epoch, view, id, bitmap }: Certificate): void {
  if (epoch !== seen.opening.epoch) return;
  const bytes = Uint8Array.fromHex(bitmap);
  const signers = seen.opening.weights.map((_, index) => index).filter((index) => ((bytes[index >> 3] ?? 0) >> (index & 7)) & 1);
  if (signers.reduce((sum, index) => sum + seen.opening.weights[index]!, 0) < quorum(seen)) return;
  for (const validator of signers) if (validator !== seen.opening.self) noteVote(seen, { kind, epoch, view, id, validator });
  noteHeld(seen, kind, view, id);
}

function noteHeld(seen: Seen, kind: Kind, view: number, id: Id | null): void {
  const key = `${kind} ${view}`;
  seen.certificates.set(key, (seen.certificates.get(key) ?? new Set()).add(id));
  seen.highest = Math.max(seen.highest, view);
}

function afterwards(seen: Seen, action: Action): void {
  if (action.kind === "commit") seen.final = { ...action.block! };
  if (action.kind === "sealed") seen.isSealed = true;
  if (action.kind !== "muted") return;
  seen.mute = action.upTo!;
  seen.nonce = null;
}

const nameOf = ({ kind, view, id }: Vote): string => `${kind} ${view} ${id}`;
const quorum = ({ opening: { weights } }: Seen): number => Math.floor((2 * weights.reduce((sum, weight) => sum + weight, 0)) / 3) + 1;
const leaderOf = ({ opening: { leaders } }: Seen, view: number): number => leaders[(view - 1) % leaders.length]!;
const holds = (seen: Seen, kind: Kind, view: number, id: Id | null): boolean => seen.certificates.get(`${kind} ${view}`)?.has(id) === true;
const isNotarized = (seen: Seen, view: number, id: Id): boolean => (seen.final.view === view && seen.final.id === id) || holds(seen, "notarize", view, id) || holds(seen, "finalize", view, id);
const isSettled = (seen: Seen, id: Id): boolean => id === seen.final.id || seen.valid.get(id) === true;

// ---- The rules ---------------------------------------------------------------------------------------------------------------

/** R3: what of a block forbids to notarize it, as far as this node can know. */
function wrongWith(seen: Seen, block: Ref, nowMs: string): string | null {
  if (block.parentView >= block.view) return "its parent is of a later view";
  if (!isNotarized(seen, block.parentView, block.parentId)) return "its parent is not notarized";
  for (let view = block.parentView + 1; view < block.view; view++) if (!holds(seen, "nullify", view, null)) return `view ${view} between is not nullified`;
  const parent = block.parentId === seen.final.id ? seen.final : seen.blocks.get(block.parentId);
  if (!parent) return "its parent is not there";
  if (block.height !== parent.height + 1) return "its height is not its parent's and one";
  if (BigInt(block.timeMs) < BigInt(parent.timeMs) + BigInt(seen.opening.blockIntervalMsMin)) return "it is too soon after its parent";
  return BigInt(block.timeMs) > BigInt(nowMs) + BigInt(seen.opening.clockSkewMsMax) ? "it is ahead of the clock" : null;
}

/** R7. */
function whyNullify(seen: Seen, view: number, nowMs: string): string {
  const leader = leaderOf(seen, view);
  const gaveUp = seen.votes.get(`nullify ${view}`)?.has(leader) === true;
  const isSilent = view - (seen.newestVote.get(leader) ?? 0) > 20;
  const isWrong = (seen.proposals.get(view) ?? []).some((id) => {
    const block = seen.blocks.get(id)!;
    return seen.valid.get(id) === false || wrongWith(seen, block, nowMs) !== null || seen.valid.get(block.parentId) === false;
  });
  return seen.timedOut.has(view) || gaveUp || isSilent || isWrong || seen.suspected.has(leader) ? "R7" : "nothing speaks against the view yet";
}

function judgeMessage(seen: Seen, event: Happened, message: Message): string {
  const isStandstill = event.kind === "timer" && event.timer === "standstill";
  switch (message.kind) {
    case "vote": return !seen.onDisk.has(nameOf(message.vote!)) ? "the vote is not on its disk" : isStandstill ? "R9" : "R11";
    case "certificate": {
      const { kind, view, id } = message.certificate!;
      if (!holds(seen, kind, view, id)) return "it holds no such certificate";
      return isStandstill ? "R9" : seen.opening.weights.length <= 32 ? "R4" : "certificates are not sent on among so many";
    }
    case "proposal": {
      const block = seen.blocks.get(message.id!);
      if (!block || !seen.built.has(message.id!) || leaderOf(seen, block.view) !== seen.opening.self) return "it is not its own block, or not its view";
      if (!seen.onDisk.has(`notarize ${block.view} ${block.id}`)) return "its own vote for it is not on its disk";
      return message.justification!.every(({ view }) => view > block.parentView && view < block.view && holds(seen, "nullify", view, null)) ? "R2" : "what justifies it does not";
    }
    case "statusRequest": return seen.nonce !== null ? "R12" : "it has forgotten nothing";
    default: return `no rule knows the message ${message.kind}`;
  }
}

function judgeBuild(seen: Seen, { view, parent, timeMs }: Action): string {
  if (view !== seen.highest + 1 || leaderOf(seen, view) !== seen.opening.self) return "it does not lead the view";
  if (!isSettled(seen, parent!.id)) return "the parent was not executed";
  const block: Ref = { id: "", view, height: parent!.height + 1, parentView: parent!.view, parentId: parent!.id, timeMs: timeMs! };
  return wrongWith(seen, block, timeMs!) ?? "R2";
}

/** R8: a child of what is final, executed, with a finalization of itself or of a descendant. */
function judgeCommit(seen: Seen, block: Ref): string {
  if (block.parentId !== seen.final.id || block.height !== seen.final.height + 1) return "it is no child of what is final";
  if (seen.valid.get(block.id) !== true) return "it was not executed";
  for (const [key, ids] of seen.certificates) {
    if (!key.startsWith("finalize ")) continue;
    for (const id of ids) if (descends(seen, id!, block)) return "R8";
  }
  return "nothing that descends from it is finalized";
}

function descends(seen: Seen, id: Id, ancestor: Ref): boolean {
  for (let at: Ref | undefined = seen.blocks.get(id); at && at.view >= ancestor.view; at = seen.blocks.get(at.parentId)) if (at.id === ancestor.id) return true;
  return false;
}

/** R12: the highest of a quorum of answers that certificates bear out, and one more. */
function judgeMute(seen: Seen, upTo: number): string {
  const { weights } = seen.opening;
  const believed = [...seen.answers].filter(([, view]) => view <= seen.highest + 1 + weights.length);
  if (seen.nonce === null) return "it has forgotten nothing";
  if (believed.reduce((sum, [validator]) => sum + weights[validator]!, 0) < quorum(seen)) return "no quorum has answered";
  return upTo === Math.max(...believed.map(([, view]) => view)) + 1 ? "R12" : "it is not the highest answer and one";
}

/** R13. */
function judgeEvidence(seen: Seen, { kind, validator, view, a, b }: NonNullable<Action["evidence"]>): string {
  if (kind === "proposals") return leaderOf(seen, view!) === validator && a !== b && seen.proposals.get(view!)!.length > 1 ? "R13" : "its leader did not propose two";
  const [one, other] = [a as Vote, b as Vote];
  const wasSeen = [one, other].every((vote) => vote.validator === validator && seen.votes.get(`${vote.kind} ${vote.view}`)?.get(validator)?.some(({ id }) => id === vote.id));
  const twoBlocks = one.id !== null && other.id !== null && one.id !== other.id;
  const both = [one.kind, other.kind].toSorted().join() === "finalize,nullify";
  return wasSeen && one.view === other.view && (twoBlocks || both) ? "R13" : "the two votes are no contradiction, or were not seen";
}

function describe(action: Action): string {
  const what = action.vote ?? action.message?.vote ?? action.message?.certificate;
  return [action.kind, action.message?.kind, what?.kind, what?.view ?? action.block?.view ?? action.view, what?.id?.slice(0, 8) ?? action.block?.id.slice(0, 8)].filter((part) => part !== undefined).join(" ");
}
