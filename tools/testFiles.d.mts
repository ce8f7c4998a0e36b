export type TestedFile = { readonly file: string; readonly elapsedMs: number; readonly failure: string | null };
export const SECOND_RUN_FILES_MAX: number;
export default function reportFiles(events: AsyncIterable<{ type: string; data: object }>): AsyncGenerator<string>;
export function parseReport(text: string): TestedFile[];
export function slowestOf(files: readonly TestedFile[]): TestedFile[];
export function judge(run: { code: number; files: readonly TestedFile[]; isStopped: () => boolean; runAlone: (file: string) => Promise<number>; say: (text: string) => void }): Promise<number>;
