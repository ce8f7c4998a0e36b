export class NativeError extends Error {
  readonly code: string;
}
export function nativeDirectory(): string;
export function buildNative(options?: { log?: (line: string) => void }): Promise<{ addon: string; runner: string; compiler: string; verify: string; built: boolean }>;
export const LINKED_AS_ONE: Readonly<Record<string, string>>;
export function testNative(options?: { log?: (line: string) => void }): Promise<{ code: number | null; text: string }>;
