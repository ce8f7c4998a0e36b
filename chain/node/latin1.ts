/**
 * Bytes as a string of as many characters, for keys of a Map. Asked of the method itself: a Buffer around them would first have to give
 * a short array, which lies within the heap, memory of its own outside of it.
 */
const slice = (Buffer.prototype as unknown as { latin1Slice(this: Uint8Array, start: number, end: number): string }).latin1Slice;

export const latin1 = (bytes: Uint8Array, start: number, end: number): string => slice.call(bytes, start, end);
