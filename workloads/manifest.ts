export type Manifest = { name: string; kind: "service" | "task"; entry: string };
export function parseManifest(text: string, file: string): { ok: true; manifest: Manifest } | { ok: false; errors: { file: string; line: number; column: number; code: string; message: string }[] } { throw new Error("x" + text + file); }
