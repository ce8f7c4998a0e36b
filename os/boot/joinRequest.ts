/**
 * What a machine asks its boot server when it wants to be part of the operator's grid, and what it is answered: JSON over HTTP, checked field by field
 * on both sides. The proof is the machine key's signature for this operator on this chain, which the ledger checks again.
 */
import { type Hex, fromHex } from "#chain/types.ts";
import { type Mac, parseMac } from "./addresses.ts";

export const JOIN_PATH = "/v1/join";
export const JOIN_BYTES_MAX = 2_048;
const REGION = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const COUNT_MAX = 0xffff_ffff;

export type JoinRequest = {
  readonly mac: Mac;
  /** Null: it has asked before, and asks again how it stands. */
  readonly token: string | null;
  readonly machineKey: Hex;
  readonly proof: Hex;
  readonly memoryMib: number;
  readonly cpuMillis: number;
  readonly region: string;
};
/** pending: until the operator names its hardware address. */
export type JoinAnswer = { readonly state: "registered" | "pending" } | { readonly state: "refused"; readonly code: string };

export function parseJoinRequest(bytes: Uint8Array): JoinRequest | null {
  const fields = objectIn(bytes);
  if (fields === null) return null;
  const { mac: macText, token, machineKey, proof, memoryMib, cpuMillis, region, ...rest } = fields;
  const mac = typeof macText === "string" ? parseMac(macText) : null;
  const isHex = (value: unknown, length: number): value is Hex => typeof value === "string" && value.length === length * 2 && /^[0-9a-f]*$/.test(value);
  const isCount = (value: unknown): value is number => typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= COUNT_MAX;
  if (mac === null || Object.keys(rest).length > 0 || !(token === null || (typeof token === "string" && /^[\w-]{16,128}$/.test(token)))) return null;
  if (!isHex(machineKey, 32) || !isHex(proof, 64) || !isCount(memoryMib) || !isCount(cpuMillis) || typeof region !== "string" || !REGION.test(region)) return null;
  return { mac, token, machineKey, proof, memoryMib, cpuMillis, region };
}

export function parseJoinAnswer(bytes: Uint8Array): JoinAnswer | null {
  const fields = objectIn(bytes);
  const state = fields?.["state"];
  if (state === "registered" || state === "pending") return { state };
  const code = fields?.["code"];
  return state === "refused" && typeof code === "string" && /^[a-z0-9_]{1,64}$/.test(code) ? { state, code } : null;
}

function objectIn(bytes: Uint8Array): Record<string, unknown> | null {
  if (bytes.length > JOIN_BYTES_MAX) return null;
  try {
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : null;
  } catch {
    return null;
  }
}

export const joinKeyBytes = ({ machineKey, proof }: Pick<JoinRequest, "machineKey" | "proof">): { machineKey: Uint8Array; proof: Uint8Array } => ({ machineKey: fromHex(machineKey), proof: fromHex(proof) });
