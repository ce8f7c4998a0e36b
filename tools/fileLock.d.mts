export function withFileLock<T>(path: string, work: () => T | Promise<T>, options?: { waiting?: (pid: number) => void }): Promise<T>;
export function startOf(pid: number): string | null;
