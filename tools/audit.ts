/**
 * `npm run audit -- --api URL [--json]`: folds a chain's blocks by itself into who paid what, and compares with what the API says. Nothing here is
 * the ledger's: it walks every second of money time. Checked: ids, parents, certificates, signatures, both clocks; that each tenant paid Σ rate × seconds
 * to the unit; that each operation was its sender's to do (auditSenders.ts); that supply is conserved at every block; that all accounts and bills are what
 * the blocks make them. On trust: which transactions were refused; a lie there shows in the sums. (After more than 256 due events in a block the sums differ until the chain has worked them off.)
 */
import { addressOf, addressText as name } from "#chain/codec/address.ts";
import { validatorSet, validatorsHash, verifyCertificate } from "#chain/codec/certificate.ts";
import { chainIdOf, decodeGenesis } from "#chain/codec/genesis.ts";
import { bodyRoot, decodeBlock, decodeCertificate, genesisId, headerId } from "#chain/codec/schema.ts";
import { type Operation, decodeTransaction, deploymentIdOf, verifySignatures } from "#chain/codec/transaction.ts";
import { PRESETS } from "#chain/constants.ts";
import { address } from "#chain/types.ts";
import { type Leases, type Revisions, isBeyond, look, newRevisions, operateRollout, passTime } from "./auditRollout.ts";
import { type Hands, type Scaling, isBeforeRollout, operateScaling, passScaling, sooner } from "./auditScaling.ts";
import { HolderBook, type Origin } from "./auditHolders.ts";
import { WitnessBook } from "./auditLiveness.ts";
import { SenderBook, type Target } from "./auditSenders.ts";
import { StakeBook } from "./auditStake.ts";
import { type Task, isForgotten, isGivenUp, newTask, operateTask, overdueAt, runFailed, runLost } from "./auditTasks.ts";

type Segment = { index: number; machine: string; operator: string; rate: bigint; full: bigint; from: bigint; to: bigint; paidTo: bigint; runs: boolean };
type Book = { owner: string; since: bigint; put: bigint; free: bigint; paid: bigint; back: bigint; memoryMib: number; cpuMillis: number; closing: boolean; task: Task | null; revisions: Revisions; scaling: Scaling | null; segments: Segment[]; dry: Segment[]; past: Segment[] };
type ApiBlock = { height: number; id: string; bytes: string; certificate: string; outcomes: { txid: string; ok: boolean }[] };
export type Report = { ok: boolean; height: number; supply: bigint; lines: Record<string, string | bigint>[]; findings: string[] };
/** Seconds after which anybody may close what rests and holds less than a minute of the units that each of its leases is reckoned at. */
const WEEK = 604_800n;
const UNITS_RECKONED = 100n;
const least = (a: bigint, b: bigint): bigint => (a < b ? a : b);
const sum = <T>(of: Iterable<T>, each: (one: T) => bigint): bigint => [...of].reduce((all, one) => all + each(one), 0n);
const rateOf = ({ segments }: Book): bigint => sum(segments, ({ runs, rate }) => (runs ? rate : 0n));
const owedBy = ({ segments }: Book): bigint => sum(segments, ({ rate, to, paidTo }) => rate * (to - paidTo));
const dueBy = ({ segments, past }: Book): bigint => sum([...past, ...segments], ({ rate, to, from }) => rate * (to - from));

export async function audit(get: (path: string) => Promise<unknown>): Promise<Report> {
  const genesisBytes = Uint8Array.fromBase64(((await get("/v1/blocks/0")) as ApiBlock).bytes);
  const genesis = decodeGenesis(genesisBytes);
  const [rules, chainId] = [{ ...PRESETS[genesis.parameters] }, chainIdOf(genesisBytes)];
  const stakes = new StakeBook(genesis.validators, rules);
  const witnesses = new WitnessBook(chainId, rules.epochBlocks, genesis.timeMs, (epoch) => stakes.sets.get(epoch) ?? []);
  const accounts = new Map(genesis.accounts.map(({ address, balance }) => [name(address), balance]));
  const [machines, books, findings] = [new Map<string, { operator: string; bond: bigint; gib: bigint; core: bigint }>(), new Map<string, Book>(), [] as string[]];
  const supply = sum(accounts.values(), (balance) => balance) + stakes.total;
  let [height, id, timeMs, second, pool, stallUpTo, stallUntil, proven] = [0, genesisId(genesisBytes).toHex(), genesis.timeMs as bigint, 0n, 0n, 0n, 0n, true];
  let burnt = 0n;
  const check = (holds: boolean, what: string): void => void (holds || findings.push(what));
  const senders = new SenderBook(chainId, rules, { machineOperator: (machine) => machines.get(machine)?.operator, validatorOperator: (id) => stakes.operatorOfValidator(id), sharesOf: (id, who) => stakes.sharesOf(id, who) });
  const holders = new HolderBook(rules, (holds, what) => check(holds, `block ${height}: ${what}`));
  const add = (who: string, amount: bigint): void => void accounts.set(who, (accounts.get(who) ?? 0n) + amount);
  const start = (book: Book, t: bigint, { index, machine, operator, rate, full }: Omit<Segment, "from" | "to" | "paidTo" | "runs">): void => void book.segments.push({ index, machine, operator, rate, full, from: t, to: t, paidTo: t, runs: true });
  const end = (book: Book, segment: Segment, at: bigint): void => {
    const to = least(segment.to, at > segment.paidTo ? at : segment.paidTo);
    [book.free, segment.to, segment.runs] = [book.free + segment.rate * (segment.to - to), to, false];
    if (to === segment.from) book.segments.splice(book.segments.indexOf(segment), 1);
  };
  const pay = (book: Book, segment: Segment, to: bigint): void => {
    const share = (until: bigint): bigint => (segment.rate * (until - segment.from) * rules.shareBps) / 10_000n;
    const [amount, part] = [segment.rate * (to - segment.paidTo), share(to) - share(segment.paidTo)];
    [book.paid, segment.paidTo, pool] = [book.paid + amount, to, pool + part]; add(segment.operator, amount - part);
  };
  /** For what ends leases by itself: those that run, and those of a dry escrow that may yet run on. */
  const leasesOf = (book: Book, t: bigint): Leases => ({
    isRunning: (index) => book.segments.some((segment) => segment.runs && segment.index === index),
    endAll: (isOf) => {
      for (const segment of book.segments.filter(({ runs, index }) => runs && isOf(index))) end(book, segment, t);
      book.dry = book.dry.filter(({ index }) => !isOf(index));
    },
  });
  /** For what scaling ends, or lets go on at another rate. */
  const handsOf = (book: Book, t: bigint): Hands<Segment> => ({
    end: (segment, at) => end(book, segment, at),
    goOn: (segment, rate) => { if (segment.runs) end(book, segment, t); start(book, t, { ...segment, rate }); },
    forgetDry: (isOf) => { book.dry = book.dry.filter(({ index }) => !isOf(index)); },
  });
  /** Runs a book to second t, one second after the other; an escrow that cannot pay a whole second ends everything there. */
  function walk(book: Book, t: bigint): void {
    // Of a task that nobody paid for again no run is under way any more.
    if (book.task !== null && book.dry.length > 0) book.task.since = null;
    book.dry = [];
    let ranDry: bigint | null = null;
    // What a block ends as its own event is paid by a later one.
    let overdue: Segment[] = [];
    for (let s = second; s <= t; s++) {
      const running = book.segments.filter(({ runs }) => runs);
      const isOverdue = book.task !== null && s === overdueAt(book.task);
      if (rateOf(book) > book.free) {
        ranDry = s;
        for (const segment of running) end(book, book.dry[book.dry.push(segment) - 1]!, s);
      }
      else if (s < t && !isOverdue) for (const segment of running) [book.free, segment.to] = [book.free - segment.rate, s + 1n];
      if (isOverdue) {
        overdue = running.filter(({ runs }) => runs);
        for (const segment of overdue) end(book, segment, s);
        book.dry = [];
        runFailed(book.task!, t);
      }
    }
    if (book.task !== null && (isGivenUp(book.task, t) || isForgotten(book.task, t))) {
      for (const segment of book.segments.filter(({ runs }) => runs)) end(book, segment, t);
      book.closing ||= isForgotten(book.task, t);
    }
    const over = book.segments.filter((one) => !one.runs && one.to + rules.holdSeconds <= t && !overdue.includes(one));
    for (const segment of over) pay(book, segment, segment.to);
    [book.past, book.segments] = [[...book.past, ...over], book.segments.filter((segment) => !over.includes(segment))];
    if (isBeforeRollout(book)) passScaling(book, handsOf(book, t), rules, t);
    const wasRolling = book.revisions.rollout !== null;
    passTime(book.revisions, leasesOf(book, t), t, ranDry);
    if (wasRolling && book.revisions.rollout === null) sooner(book, rules, t);
    passScaling(book, handsOf(book, t), rules, t);
  }
  const punish = (evidence: Uint8Array, by: string | null): void => { const cost = stakes.punish(evidence, by); burnt += cost.burnt; if (cost.reporter !== null) add(cost.reporter, cost.reward); };
  const rateFor = ({ machine }: Segment, { memoryMib, cpuMillis }: Book, { gib, core } = machines.get(machine)!): bigint =>
    (BigInt(memoryMib) * gib * 1000n + BigInt(cpuMillis) * core * 1024n + 1_023_999n) / 1_024_000n || 1n;
  /** Everything that ran on a machine, or is not paid yet of it, is over since that second. */
  function endRun(machine: string, last: bigint, t: bigint): void {
    for (const each of books.values()) {
      const before = each.segments.filter(({ runs }) => runs);
      for (const segment of each.segments.filter((one) => one.machine === machine && (one.runs || one.to > last))) end(each, segment, last);
      if (each.task !== null && [...before, ...each.dry].some((lease) => lease.machine === machine)) runLost(each.task);
      each.dry = each.dry.filter((lease) => lease.machine !== machine);
      look(each.revisions, leasesOf(each, t), t);
    }
  }
  const targetOf = ({ owner, since, free, revisions, segments, dry, past }: Book, t: bigint): Target => ({
    owner, running: [...segments.filter(({ runs }) => runs), ...dry],
    isAbandoned: segments.length + dry.length === 0 && free < UNITS_RECKONED * BigInt(revisions.replicas) * rules.runwaySecondsMin && [since, ...past.map(({ to }) => to)].every((one) => one + WEEK <= t),
  });
  function operate(op: Operation, origin: Origin, t: bigint): void {
    const [sender, made] = [name(origin.sender), deploymentIdOf(origin.sender, origin.nonce, origin.at).toHex()];
    const [machine, book] = [machines.get(sender)!, books.get("deploymentId" in op ? op.deploymentId.toHex() : "") as Book];
    const running = book?.segments.filter(({ runs, index }) => runs && (!("index" in op) || index === op.index));
    if ("deploymentId" in op && !book) return check(false, `block ${height}: ${op.kind} of a deployment that is not there is said to have worked`);
    const wrong = senders.judge(op, origin.sender, book ? targetOf(book, t) : null);
    if (wrong !== null) return check(false, `block ${height}: ${wrong}, is said to have worked`);
    senders.note(op, origin.sender);
    add(sender, -stakes.operate(op, sender, timeMs));
    holders.hear(op, origin, stakes.epoch);
    const rent = holders.rentOf(op, origin, timeMs);
    add(sender, -rent); pool += rent;
    for (const [who, amount] of holders.operate(op, origin, timeMs)) add(who, amount);
    if (op.kind === "report") punish(op.evidence, sender);
    else if (op.kind === "transfer") [sender, name(op.to)].forEach((who, i) => add(who, i === 0 ? -op.amount : op.amount));
    else if (op.kind === "registerMachine") {
      const [key, { pricePerGibSecond: gib, pricePerCoreSecond: core, bond }] = [name(addressOf(op.machineKey)), op];
      add(sender, (machines.get(key)?.bond ?? 0n) - bond);
      machines.set(key, { operator: sender, bond, gib, core });
      witnesses.register(op.machineKey);
    } else if (op.kind === "retire") {
      add(sender, machines.get(name(op.machine))!.bond);
      machines.delete(name(op.machine));
      witnesses.retire(op.machine);
    } else if (op.kind === "up") {
      const last = witnesses.up(op, origin.sender, () => check(false, `block ${height}: a machine is said to have come up, and its witnesses say no such thing`));
      if (last !== null) endRun(sender, last, t);
    } else if (op.kind === "deploy" || op.kind === "runTask") {
      add(sender, -op.deposit);
      books.set(made, { owner: sender, since: t, put: op.deposit, free: op.deposit, paid: 0n, back: 0n, memoryMib: op.memoryMib, cpuMillis: op.cpuMillis, closing: false, task: op.kind === "runTask" ? newTask(op) : null, revisions: newRevisions(op.kind === "runTask" ? 1 : op.replicas), scaling: null, segments: [], dry: [], past: [] });
    } else if (op.kind === "ready") {
      // A lease that moved here: where it was it ends in this second.
      for (const segment of running) end(book, segment, t);
      start(book, t, { index: op.index, machine: sender, operator: machine.operator, rate: op.rate, full: op.rate });
    }
    // The machine that a lease moves to may fail: it goes on where it is.
    else if (op.kind === "failed" || op.kind === "taskEnded") for (const segment of running) { if (segment.machine === sender) end(book, segment, t); }
    else if (op.kind === "scale" || op.kind === "close") {
      const isOver = ({ index }: Segment): boolean => op.kind === "close" || isBeyond(book.revisions, index, op.replicas);
      for (const segment of running) if (isOver(segment)) end(book, segment, t);
      [book.dry, book.closing] = [book.dry.filter((lease) => !isOver(lease)), op.kind === "close"];
    } else if (op.kind === "resize") {
      const before = { ...book };
      [book.memoryMib, book.cpuMillis] = [op.memoryMib, op.cpuMillis];
      // At the machine's prices now, or as much below them as it was.
      const changed = (lease: Segment): bigint => least(rateFor(lease, book), (rateFor(lease, book) * lease.full + rateFor(lease, before) - 1n) / rateFor(lease, before));
      book.dry = book.dry.map((lease) => ({ ...lease, full: changed(lease) }));
      for (const segment of running) {
        const rate = changed(segment);
        if (segment.rate !== rate) { end(book, segment, t); start(book, t, { ...segment, rate, full: rate }); } else segment.full = rate;
      }
    } else if (op.kind === "topUp") {
      [book.put, book.free, book.since] = [book.put + op.amount, book.free + op.amount, t]; add(sender, -op.amount);
      const hasRoom = book.dry.every((lease) => book.segments.filter(({ index, runs }) => !runs && index === lease.index).length < rules.unpaidSegmentsMax);
      if (hasRoom && book.free >= (rateOf(book) + sum(book.dry, ({ full }) => full)) * rules.runwaySecondsMin) for (const lease of book.dry.splice(0)) start(book, t, { ...lease, rate: lease.full });
    } else if (op.kind === "claim") for (const segment of running) pay(book, segment, least(t - rules.holdSeconds, t < stallUntil ? stallUpTo : t));
    if (book?.task) operateTask(op, book.task, t);
    const wasRolling = book?.revisions.rollout !== null;
    if (book) operateRollout(op, book.revisions, leasesOf(book, t), t);
    if (book && wasRolling && book.revisions.rollout === null) sooner(book, rules, t);
    if (book) operateScaling(op, sender, book, handsOf(book, t), rules, t);
  }
  function fold({ bytes, certificate: proof, outcomes, id: named }: ApiBlock): void {
    const { header, body } = decodeBlock(Uint8Array.fromBase64(bytes));
    const [t, own, given] = [header.moneySecond as bigint, headerId(header).toHex(), proof === "" ? null : decodeCertificate(Uint8Array.fromBase64(proof))];
    // Who caught up has the certificate of a later block instead, which proves its ancestors when the fold is there.
    const isOfLater = given !== null && given.kind !== "nullify" && given.id?.toHex() !== own && (given.epoch > header.epoch || given.view > header.view);
    const certificate = isOfLater ? null : given;
    const set = validatorSet(chainId, header.epoch, stakes.sets.get(header.epoch) ?? genesis.validators);
    const facts = {
      height: header.height === height, id: named === own, parent: header.parentId.toHex() === id, body: bodyRoot(body).toHex() === header.bodyRoot.toHex(), time: header.timeMs > timeMs,
      chain: header.chainId.toHex() === chainId.toHex() && header.validatorsHash.toHex() === validatorsHash(set.validators).toHex(),
      outcomes: outcomes.length === body.transactions.length, "money time": t === second + least(header.timeMs / 1000n - timeMs / 1000n, rules.moneyStepSecondsMax),
      certificate: certificate === null || (certificate.kind !== "nullify" && certificate.id?.toHex() === own && verifyCertificate(set, certificate).ok),
    };
    for (const [what, holds] of Object.entries(facts)) check(holds, `block ${height}: its ${what} is wrong`);
    if (header.timeMs - timeMs > BigInt(rules.idleIntervalMs) + 2_000n) [stallUpTo, stallUntil] = [second < stallUntil ? stallUpTo : second, t + 10n + rules.holdSeconds];
    for (const book of books.values()) walk(book, t);
    stakes.note(header); timeMs = header.timeMs;
    for (const [who, amount] of stakes.release(timeMs)) if (amount > 0n) add(who, amount);
    witnesses.note(height, timeMs, t);
    for (const [i, transaction] of body.transactions.map(decodeTransaction).entries()) {
      const { sender, nonce, fee, ops } = transaction.body;
      check(verifySignatures(transaction) && outcomes[i]?.txid === transaction.txid.toHex(), `block ${height}: transaction ${i} is not what was signed, or not the one named`);
      const wrong = senders.admit(transaction, timeMs);
      check(wrong === null, `block ${height}: transaction ${i} ${wrong}`);
      add(name(sender), -fee); pool += fee;
      if (outcomes[i]?.ok) for (const [at, op] of ops.entries()) operate(op, { sender, nonce, at }, t);
    }
    senders.endBlock();
    for (const { machine, end: last } of witnesses.silence(body.suspicions, () => check(false, `block ${height}: a suspicion in it does not hold, or takes nobody down`))) endRun(name(address(Uint8Array.fromHex(machine))), last, t);
    for (const one of body.evidence) punish(one, stakes.operatorOf(header.proposer));
    for (const book of books.values()) if ((book.closing || (book.task !== null && book.task.ended !== null)) && book.segments.length === 0) { add(book.owner, book.free); [book.back, book.free] = [book.back + book.free, 0n]; }
    const [endsAt, weights] = [stakes.epoch, stakes.weights];
    if (header.height % rules.epochBlocks === 0) holders.count(endsAt, weights);
    const { paid, fromPool } = stakes.end(header.height, timeMs, pool);
    for (const [who, amount] of paid) if (amount > 0n) add(who, amount);
    [id, second, proven, pool] = [own, t, certificate !== null, pool - fromPool];
    const all = sum(accounts.values(), (balance) => balance) + sum(books.values(), (book) => book.free + owedBy(book)) + sum(machines.values(), ({ bond }) => bond) + pool + stakes.total + holders.locked + burnt;
    check(all === supply && [...accounts.values()].every((balance) => balance >= 0n), `block ${height}: all pots hold ${all} and the supply is ${supply}, or an account is below zero`);
  }
  // The chain goes on meanwhile: what the API says counts when no block came while it said it.
  const newest = async (): Promise<number> => ((await get("/v1/blocks/latest")) as ApiBlock).height;
  for (let [top, tries] = [await newest(), 0]; ; tries++) {
    while (height < top && findings.length === 0) await get(`/v1/blocks/${++height}`).then((block) => fold(block as ApiBlock)).catch((error: unknown) => check(false, `block ${height} cannot be read: ${String(error)}`));
    check(proven, `block ${height}: nothing proves it`);
    const found: string[] = [];
    const same = (what: string, api: unknown, own: bigint | boolean): void => void (String(api) === String(own) || found.push(`${what}: the API says ${String(api)}, the blocks ${own}`));
    for (const [who, balance] of accounts) same(`balance of ${who}`, ((await get(`/v1/accounts/${who}`)) as { balance: string }).balance, balance);
    for (const [deployment, book] of books) {
      const bill = (await get(`/v1/deployments/${deployment}/bill`)) as Record<string, string>;
      const [rate, later] = [rateOf(book), BigInt(bill["at"] ?? 0) - second];
      const facts = { total: dueBy(book) + (rate > 0n && later > 0n ? rate * least(later, book.free / rate) : 0n), paid: book.paid, refunded: book.back, closed: book.closing && book.segments.length === 0 };
      for (const [field, own] of Object.entries(facts)) same(`${field} of ${deployment}`, bill[field], own);
      check(book.paid + owedBy(book) === dueBy(book) && book.put === dueBy(book) + book.free + book.back, `deployment ${deployment}: what was paid and is owed is not rate × seconds`);
    }
    if (top !== (top = await newest()) && tries < 20 && findings.length === 0) continue;
    const lines = [...books].map(([deployment, book]) => ({ deployment, owner: book.owner, seconds: sum([...book.past, ...book.segments], ({ from, to }) => to - from), due: dueBy(book), paid: book.paid, balance: book.free + owedBy(book), refunded: book.back }));
    return { ok: findings.length + found.length === 0, height, supply, lines, findings: [...findings, ...found] };
  }
}

if (import.meta.main) {
  const api = URL.parse(process.argv[process.argv.indexOf("--api") + 1] ?? "");
  if (!api?.protocol.startsWith("http") || process.argv.includes("--help")) { console.error("usage: audit --api http://HOST:PORT [--json]"); process.exit(2); }
  const report = await audit(async (path) => {
    const response = await fetch(new URL(path, api));
    return response.ok ? response.json() : Promise.reject(new Error(`GET ${response.url} answers ${response.status}`));
  }).catch((error: unknown): never => { console.error(`Cannot audit ${api.href}: ${error instanceof Error ? error.message : String(error)}`); process.exit(1); });
  if (process.argv.includes("--json")) console.log(JSON.stringify(report, (_key, value: unknown) => (typeof value === "bigint" ? String(value) : value)));
  else console.table(report.lines.map((line) => ({ ...line, deployment: String(line["deployment"]).slice(0, 8), owner: String(line["owner"]).slice(0, 12) })));
  console.error(`${report.height} blocks, supply ${report.supply}: ${report.ok ? "every unit is accounted for" : report.findings.join("\n")}`);
  process.exitCode = report.ok ? 0 : 1;
}
