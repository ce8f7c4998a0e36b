/**
 * A machine becomes part of its operator's grid: it shows the boot server its token and a proof of its key, and asks again until it is registered. The
 * operator's key is not here; the boot server has one that may register machines and nothing else.
 */
import { signMachineProof } from "#chain/codec/transaction.ts";
import { type Address, type ChainId, hex } from "#chain/types.ts";
import { messageOf } from "../error.ts";
import type { KeyPair } from "../keys.ts";
import type { Mac } from "./addresses.ts";
import { JOIN_BYTES_MAX, JOIN_PATH, type JoinAnswer, type JoinRequest, parseJoinAnswer } from "./joinRequest.ts";

/** A server that does not answer, or an operator who has not looked yet. */
const AGAIN_MS = 10_000;
/** Nobody mends a refusal in ten seconds. */
const REFUSED_FACTOR = 6;
/** A registration is a transaction: the server answers when it is final. */
const ANSWER_MS_MAX = 40_000;

export type EnrolmentOptions = {
  readonly bootServer: string;
  readonly token: string;
  readonly mac: Mac;
  readonly machine: KeyPair;
  readonly operator: Address;
  readonly chainId: ChainId;
  readonly offer: { readonly memoryMib: number; readonly cpuMillis: number; readonly region: string };
  readonly onLine: (line: string) => void;
  readonly signal: AbortSignal;
  /** Another token, from the boot server; null: it gives none. Left out: a refusal is for good. */
  readonly freshToken?: () => Promise<string | null>;
  readonly againMs?: number;
};
/** What another token, or the operator, can mend: tokens end, lists are made longer, accounts get money. A proof that does not hold never will. */
const FOR_GOOD: ReadonlySet<string> = new Set(["bad_proof"]);

/** Resolves when the machine is registered, or refused for good; a server that is away is waited for, and so is an operator. */
export async function enrol(options: EnrolmentOptions): Promise<JoinAnswer | null> {
  const { machineKey, proof } = signMachineProof(options.machine.seed, options.chainId, options.operator);
  const request: JoinRequest = { mac: options.mac, token: options.token, machineKey: hex(machineKey), proof: hex(proof), ...options.offer };
  let said = "";
  const say = (line: string): void => {
    if (line !== said) options.onLine(line);
    said = line;
  };
  // The token is good once: whoever is pending is known by its key from then on.
  let hasShown = false;
  let { token } = options;
  let isRefused = false;
  while (!options.signal.aborted) {
    try {
      const answer = await ask(options, { ...request, token: hasShown ? null : token });
      [hasShown, isRefused] = [true, answer.state === "refused"];
      if (answer.state === "registered") say("enrolled: this machine is registered");
      if (answer.state === "refused") say(`not enrolled: the boot server refuses it (${answer.code})`);
      if (answer.state === "registered" || (answer.state === "refused" && (options.freshToken === undefined || FOR_GOOD.has(answer.code)))) return answer;
      if (answer.state === "pending") say("enrolment waits for the operator to name this machine");
      else {
        const fresh = await options.freshToken?.() ?? null;
        if (fresh !== null) [token, hasShown] = [fresh, false];
      }
    } catch (error) {
      if (options.signal.aborted) break;
      say(`enrolment waits for the boot server: ${messageOf(error)}`);
    }
    await new Promise<void>((resolve) => {
      const timer = setTimeout(done, (options.againMs ?? AGAIN_MS) * (isRefused ? REFUSED_FACTOR : 1));
      function done(): void {
        clearTimeout(timer);
        options.signal.removeEventListener("abort", done);
        resolve();
      }
      options.signal.addEventListener("abort", done);
    });
  }
  return null;
}

async function ask({ bootServer, signal }: EnrolmentOptions, request: JoinRequest): Promise<JoinAnswer> {
  const response = await fetch(`${bootServer}${JOIN_PATH}`, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(request), redirect: "error", signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS_MAX)]),
  });
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of response.body ?? []) {
    length += part.length;
    if (length > JOIN_BYTES_MAX) break;
    parts.push(part);
  }
  const answer = parseJoinAnswer(Buffer.concat(parts));
  if (answer === null) throw new Error(`it answers ${response.status} with something else`);
  return answer;
}
