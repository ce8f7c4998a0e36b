/** What the tests of the machine share: temporary folders, and HTTP with signed requests. */
import { mkdtempSync, rmSync } from "node:fs";
import { type IncomingHttpHeaders, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { addressOf } from "#chain/codec/address.ts";
import { signRequest } from "#chain/codec/request.ts";
import { publicKeyOf, sha256 } from "#chain/crypto.ts";
import type { Address, ChainId } from "#chain/types.ts";

export function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "godwit-os-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export type HttpAnswer = { readonly status: number; readonly headers: IncomingHttpHeaders; readonly text: string; readonly json: any }; // oxlint-disable-line typescript/no-explicit-any
export type Call = { readonly method?: string; readonly path: string; readonly body?: Uint8Array; readonly headers?: Readonly<Record<string, string>>; readonly port: number; readonly localAddress?: string };

/** One request on a connection of its own, whole answer. */
export function http({ method = "GET", path, body, headers = {}, port, localAddress = "127.0.0.1" }: Call): Promise<HttpAnswer> {
  const { promise, resolve, reject } = Promise.withResolvers<HttpAnswer>();
  const call = request({ host: "127.0.0.1", localAddress, port, path, method, headers: { ...headers }, agent: false }, (answer) => {
    const chunks: Buffer[] = [];
    answer.on("data", (chunk: Buffer) => chunks.push(chunk));
    answer.on("error", reject);
    answer.on("end", () => {
      const text = Buffer.concat(chunks).toString();
      resolve({ status: answer.statusCode ?? 0, headers: answer.headers, text, json: /json/.test(answer.headers["content-type"] ?? "") ? JSON.parse(text) : null });
    });
  });
  // A refusal may come before the whole body is sent.
  call.on("error", reject);
  call.end(body);
  return promise;
}

export type Signer = { readonly seed: Uint8Array; readonly chainId: ChainId; readonly machine: Address };
const ONE_MINUTE_MS = 60_000;

export function authorization(signer: Signer, { method = "GET", path, body }: Omit<Call, "port">, changes: { expiryMs?: number; sender?: Address; bodyDigest?: Uint8Array; machine?: Address } = {}): string {
  return signRequest({
    chainId: signer.chainId, sender: changes.sender ?? addressOf(publicKeyOf(signer.seed)), method, path, machine: changes.machine ?? signer.machine,
    bodyDigest: sha256(body ?? new Uint8Array(0)), expiryMs: BigInt(changes.expiryMs ?? Date.now() + ONE_MINUTE_MS),
  }, signer.seed);
}

export const signed = (signer: Signer, call: Call): Promise<HttpAnswer> =>
  http({ ...call, headers: { ...call.headers, authorization: authorization(signer, call) } });
