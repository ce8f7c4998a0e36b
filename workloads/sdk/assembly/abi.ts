/**
 * The canonical ABI's side of memory: how the host's bytes become AssemblyScript objects, and back.
 *
 * Rules (the hand-written `wasi/*` call these; generated bindings have `canonical.ts`, which keeps a list of what it holds):
 * - Every block the host asks for is a managed, pinned ArrayBuffer. So a `list<u8>` is lifted without a copy; whoever lifts
 *   it unpins it, once. A call that returns a list makes the host allocate several times, and each allocation may run a step
 *   of the garbage collector: without the pin the first block could be gone before the last is made.
 * - A pointer given to the host comes from an object held in a local of managed type for the whole call: only those are on
 *   the shadow stack that the collector walks.
 * - RETURN_AREA is one static block for results of imports. It is read before the next import is called.
 */
/** Where imports put results that do not fit one register: 64 bytes hold the largest of the interfaces we use. */
export const RETURN_AREA: usize = memory.data(64, 8);

/** The allocator the host calls. AssemblyScript's blocks are aligned to 16 bytes, which covers every type of the ABI. */
export function cabi_realloc(oldPointer: usize, oldSize: usize, align: usize, newSize: usize): usize {
  if (!oldPointer || !oldSize) {
    if (!newSize) return align; // Nothing to hold: any aligned address that is not null.
    return __pin(__new(newSize, idof<ArrayBuffer>()));
  }
  const moved = __renew(oldPointer, newSize);
  if (moved != oldPointer) {
    __pin(moved);
    __unpin(oldPointer);
  }
  return moved;
}

/** Takes over a `list<u8>` of the host's as an ArrayBuffer, without a copy. */
export function liftBytes(pointer: usize, length: usize): ArrayBuffer {
  if (!length) return new ArrayBuffer(0);
  const bytes = changetype<ArrayBuffer>(pointer);
  __unpin(pointer);
  return bytes;
}

/** Takes over a `string` of the host's. */
export function liftString(pointer: usize, length: usize): string {
  if (!length) return "";
  const text = String.UTF8.decodeUnsafe(pointer, length);
  __unpin(pointer);
  return text;
}

/** Gives up a block that was only read, such as the spine of a list. */
export function release(pointer: usize, size: usize): void {
  if (size) __unpin(pointer);
}

/** Lifts a `list<string>`: the spine has eight bytes an entry. */
export function liftStrings(pointer: usize, count: usize): string[] {
  const texts = new Array<string>(<i32>count);
  for (let i: usize = 0; i < count; i++) {
    const entry = pointer + i * 8;
    texts[<i32>i] = liftString(load<usize>(entry), load<usize>(entry, 4));
  }
  release(pointer, count);
  return texts;
}

/** Address of a buffer's first byte. Keep `bytes` in a local while the address is in use. */
// @ts-ignore: decorator
@inline
export function addressOf(bytes: ArrayBuffer): usize {
  return changetype<usize>(bytes);
}

