export const workspaceDirectory: string;
export function cacheDirectory(): string;
export function nativeDirectory(): string;
