/** What the image knows of itself (tools/image/root.ts): whose images it may take, its release, and the day before which no clock can be. */
import { readFileSync } from "node:fs";

export type Identity = { readonly signer: string | null; readonly release: number; readonly releasedAt: string };

export const IDENTITY_FILE = "/godwit/image.json";

export function readIdentity(file: string): Identity {
  const { signer, release, releasedAt } = JSON.parse(readFileSync(file, "utf8")) as Identity;
  return { signer, release, releasedAt };
}

/** Zero where nothing is known: then any clock may be right. */
export function releasedMsIn(file: string): number {
  try {
    const ms = Date.parse(readIdentity(file).releasedAt);
    return Number.isFinite(ms) ? ms : 0;
  } catch {
    return 0;
  }
}
