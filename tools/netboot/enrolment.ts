/**
 * Machines join the operator's grid through the boot server: a token, a named hardware address, a proof of the machine's key, one transaction.
 *
 * The server signs with an enrolment key: a key of the operator's account whose only scope is `machine`, with a limit and an end, so that who steals it can register, drain and retire
 * machines within the limit and pay nobody. Rules: a token is spent by the first who shows it; a machine whose address nobody named is pending until somebody does; one hardware
 * address is one machine: when it comes with another key, the one before is retired first (it must be empty), or the join is refused; at most `countMax` machines.
 */
import { machineProofMessage } from "#chain/codec/transaction.ts";
import { verify } from "#chain/crypto.ts";
import type { Address, ChainId, Hex } from "#chain/types.ts";
import type { Mac } from "#os/boot/addresses.ts";
import { type JoinAnswer, type JoinRequest, joinKeyBytes } from "#os/boot/joinRequest.ts";
import type { JoinBook, Registration } from "./book.ts";
import { JOINS_MAX } from "./limits.ts";
import type { JoinTokens } from "./tokens.ts";

export type EnrolmentHands = {
  /** Throws with the code of the refusal. */
  register(request: JoinRequest): Promise<void>;
  retire(machineKey: Hex): Promise<void>;
};
export type EnrolmentOptions = {
  readonly operator: Address;
  readonly chainId: ChainId;
  readonly countMax: number;
  readonly tokens: JoinTokens;
  readonly book: JoinBook;
  /** Asked at each join: the operator may have named more machines since. */
  readonly isNamed: (mac: Mac) => Promise<boolean>;
  readonly hands: EnrolmentHands;
  /** A key that is a machine no more. */
  readonly onRetired?: (key: Hex) => void;
  readonly now: () => number;
  readonly onLine: (line: string) => void;
};

/**
 * A machine that still holds leases of its last boot, or rests, an API that is out of reach, starts or has a clock that is years ahead, a transaction of the account that is under way
 * still, as the one before of this machine may be: the machine asks again.
 */
const PASSING: ReadonlySet<string> = new Set(["machine_in_use", "machine_resting", "not_final", "outcome_unknown", "expiry_too_far", "replacement_underpriced", "wrong_nonce", "nonce_used"]);
const isPassing = (error: unknown, code: string): boolean =>
  PASSING.has(code) || (error instanceof Error && "status" in error && typeof error.status === "number" && (error.status === 0 || error.status >= 500));

const GONE = "machine_unknown";
const codeOf = (error: unknown): string => (typeof error === "object" && error !== null && "code" in error && typeof error.code === "string" ? error.code.toLowerCase() : "internal");

const refused = (code: string): JoinAnswer => ({ state: "refused", code });

export class Enrolment {
  readonly #options: EnrolmentOptions;
  /** One transaction after the other: they are of one account. */
  #work: Promise<unknown> = Promise.resolve();

  constructor(options: EnrolmentOptions) {
    this.#options = options;
  }

  async join(request: JoinRequest): Promise<JoinAnswer> {
    const { tokens, book, now, isNamed, onLine } = this.#options;
    const { admitted, registered } = book;
    const { mac, machineKey } = request;
    if (!this.#proves(request)) return refused("bad_proof");
    // Its proof is the same as when it showed its token: an answer that was lost costs it nothing.
    if (request.token !== null && admitted.get(machineKey) !== mac) {
      const verdict = tokens.spend(request.token, mac, now());
      if (verdict === "good") {
        const [oldest] = admitted.keys();
        if (oldest !== undefined && admitted.size >= JOINS_MAX) admitted.delete(oldest);
        admitted.set(machineKey, mac);
      }
      await book.save();
      if (verdict !== "good") return refused(`token_${verdict}`);
    }
    if (admitted.get(machineKey) !== mac) return refused("token_unknown");
    if (isRegistered(registered.get(mac), machineKey)) return { state: "registered" };
    if (!(await isNamed(mac))) {
      onLine(`${mac} waits to be named: its key is ${machineKey}`);
      return { state: "pending" };
    }
    const work = this.#work.then(() => this.#register(request));
    this.#work = work.catch(() => {});
    return await work;
  }

  #proves(request: JoinRequest): boolean {
    const { machineKey, proof } = joinKeyBytes(request);
    return verify("machine", proof, machineProofMessage(this.#options.chainId, this.#options.operator), machineKey);
  }

  async #register(request: JoinRequest): Promise<JoinAnswer> {
    const { hands, book, countMax, onLine } = this.#options;
    const { mac, machineKey } = request;
    const { registered } = book;
    const before = registered.get(mac);
    if (isRegistered(before, machineKey)) return { state: "registered" };
    if (before === undefined && registered.size >= countMax) return refused("machines_full");
    try {
      if (before !== undefined && before.key !== machineKey) {
        await hands.retire(before.key).catch((error: unknown) => {
          // Retired already, by the operator, or by us, whose answer was lost; or it was never registered.
          if (codeOf(error) !== GONE) throw error;
        });
        this.#options.onRetired?.(before.key);
      }
      registered.set(mac, { key: machineKey, isSure: false });
      await book.save();
      await hands.register(request);
    } catch (error) {
      const code = codeOf(error);
      const isForNow = isPassing(error, code);
      onLine(`${mac} cannot be registered${isForNow ? " yet" : ""}: ${error instanceof Error ? error.message : String(error)}`);
      if (isForNow) return { state: "pending" };
      if (registered.get(mac)?.key === machineKey) registered.delete(mac);
      await book.save();
      return refused(/^[a-z0-9_]{1,64}$/.test(code) ? code : "internal");
    }
    registered.set(mac, { key: machineKey, isSure: true });
    await book.save();
    onLine(`${mac} is registered`);
    return { state: "registered" };
  }
}

const isRegistered = (known: Registration | undefined, key: Hex): boolean => known !== undefined && known.isSure && known.key === key;
