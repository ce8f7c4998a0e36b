/**
 * The canonical ABI at run time: what generated bindings (`godwit bindgen`) call to pass values between program and host.
 *
 * Rules of memory:
 * - Every block the host asks for is a managed, pinned ArrayBuffer. Whoever lifts it unpins it, once; a `list<u8>` or a list of
 *   numbers becomes the AssemblyScript object where it lies, without a copy. The pin keeps it from the collector: the host
 *   asks for several blocks in a row, and each may run a step of it.
 * - What the host is given a pointer to is *held*: in a list that the collector sees, from `mark` to `unmark` around the call
 *   of an import, and to the end of post-return for the result of an export.
 * - Under the minimal runtime nothing is collected by itself: `end` does it where an export returns and no frame is left.
 */
import { OBJECT, TOTAL_OVERHEAD } from "rt/common";

/** ASC_RUNTIME of `--runtime minimal`. */
const RUNTIME_MINIMAL: i32 = 1;
/** A list of held blocks that grew beyond this is given up when it is empty again. */
const HELD_KEPT_MAX: i32 = 1024;
/** Any address that is aligned and not null: where a list of no entries begins. */
const NOWHERE: usize = 16;

/** The allocator the host calls. AssemblyScript's blocks are aligned to 16 bytes, which covers every type of the ABI. */
export function cabi_realloc(oldPointer: usize, oldSize: usize, align: usize, newSize: usize): usize {
  if (!oldPointer || !oldSize) {
    if (!newSize) return align;
    return __pin(__new(newSize, idof<ArrayBuffer>()));
  }
  const moved = __renew(oldPointer, newSize);
  if (moved != oldPointer) {
    __pin(moved);
    __unpin(oldPointer);
  }
  return moved;
}

// From the host.

/** Takes over a `list<u8>`. */
export function liftBytes(pointer: usize, length: usize): Uint8Array {
  if (!length) return new Uint8Array(0);
  const bytes = changetype<ArrayBuffer>(pointer);
  __unpin(pointer);
  return Uint8Array.wrap(bytes);
}

/** Takes over a list of numbers: the block becomes a StaticArray by the class id in its header. */
export function liftArray<T>(pointer: usize, length: usize): StaticArray<T> {
  if (!length) return new StaticArray<T>(0);
  changetype<OBJECT>(pointer - TOTAL_OVERHEAD).rtId = idof<StaticArray<T>>();
  const array = changetype<StaticArray<T>>(pointer);
  __unpin(pointer);
  return array;
}

/** Takes over a `string`. */
export function liftString(pointer: usize, length: usize): string {
  if (!length) return "";
  const text = String.UTF8.decodeUnsafe(pointer, length);
  __unpin(pointer);
  return text;
}

/** Gives up a block that was only read: the spine of a list, parameters that came in memory. */
export function release(pointer: usize, size: usize): void {
  if (size) __unpin(pointer);
}

// To the host.

let held: Array<ArrayBuffer> = [];

/** What is held now; for `unmark`. */
export function mark(): i32 {
  return held.length;
}

/** Lets go of everything held since that mark. */
export function unmark(marked: i32): void {
  if (!marked && held.length > HELD_KEPT_MAX) held = [];
  else held.length = marked;
}

/** A block of zeros, held. */
export function alloc(bytes: i32): usize {
  if (!bytes) return NOWHERE;
  const block = new ArrayBuffer(bytes);
  held.push(block);
  return changetype<usize>(block);
}

/** A text as UTF-8, held. A surrogate without its other half becomes U+FFFD: the host takes nothing else. */
export function encode(text: string): ArrayBuffer {
  const bytes = String.UTF8.encode(text, false, String.UTF8.ErrorMode.REPLACE);
  held.push(bytes);
  return bytes;
}

/** The address of bytes, held. */
export function holdBytes(bytes: Uint8Array): usize {
  held.push(bytes.buffer);
  return bytes.dataStart;
}

/** The address of numbers, held. */
export function holdArray<T>(array: StaticArray<T>): usize {
  held.push(changetype<ArrayBuffer>(array));
  return changetype<usize>(array);
}

/** Stores a pointer and a length. */
export function storeString(pointer: usize, text: string): void {
  const bytes = encode(text);
  storeSpan(pointer, changetype<usize>(bytes), bytes.byteLength);
}

/** Stores a pointer and a length. */
export function storeSpan(pointer: usize, start: usize, length: i32): void {
  store<usize>(pointer, start);
  store<i32>(pointer, length, sizeof<usize>());
}

/** The end of a call that the host made. */
export function end(): void {
  if (ASC_RUNTIME == RUNTIME_MINIMAL) __collect();
}

/** The end of a call whose result the host has read. */
export function endResult(): void {
  unmark(0);
  end();
}

// Resources of the host: a handle in a class. AssemblyScript has no destructors, so who owns one has to `drop` it.

/** What every class of an imported resource extends. */
export abstract class Resource {
  /** Index in the table of handles; 0 when it is no longer ours. */
  handle: i32 = 0;

  /** Gives the resource back to the host. Twice does no harm. */
  abstract drop(): void;

  /** Gives up ownership and returns the handle. */
  take(): i32 {
    const handle = this.handle;
    this.handle = 0;
    return handle;
  }
}

/** A handle as an object of its class, without running the constructor. */
export function resource<T extends Resource>(handle: i32): T {
  const made = changetype<T>(__new(offsetof<T>(), idof<T>()));
  made.handle = handle;
  return made;
}

const borrowed: Array<Resource> = [];

/** A handle that is lent to an export until it returns. */
export function borrow<T extends Resource>(handle: i32): T {
  const made = resource<T>(handle);
  borrowed.push(made);
  return made;
}

/** Gives back what was lent: the host does not let an export return before. */
export function returnBorrowed(): void {
  for (let i = 0; i < borrowed.length; i++) borrowed[i].drop();
  borrowed.length = 0;
}

// Resources of the program: an object that stays pinned while others have handles to it; its address is what the host keeps.

/** What every class of an exported resource extends. */
export abstract class ExportedResource {
  /** Handles that are not ours. */
  _handles: i32 = 0;

  /** Called when others have dropped their last handle. */
  dropped(): void {}
}

let takingBack: bool = false;

/** The representation of an object that gets one more handle. */
export function share(resource: ExportedResource): usize {
  const address = changetype<usize>(resource);
  if (!resource._handles) __pin(address);
  resource._handles++;
  return address;
}

/** What runs when a handle is dropped. */
export function unshare(address: usize): void {
  const resource = changetype<ExportedResource>(address);
  resource._handles--;
  if (resource._handles) return;
  __unpin(address);
  if (!takingBack) resource.dropped();
}

/** Said around the drop of a handle that came back to us: the object lives on as an ordinary one. */
export function setTakingBack(value: bool): void {
  takingBack = value;
}

// Types that WIT has and AssemblyScript lacks.

/** A present `option` of what cannot be null itself. */
export class Some<T> {
  constructor(public value: T) {}
}

/** The value of a `result` that says nothing more. */
export type Unit = u8;

/** `result<O, E>`: made by `ok` and `err`. */
export class Result<O, E> {
  constructor(readonly isOk: bool, private value: O, private error: E) {}

  get isErr(): bool {
    return !this.isOk;
  }

  /** The value; traps when it is an error. */
  get ok(): O {
    assert(this.isOk, "this result is an error");
    return this.value;
  }

  /** The error; traps when there is none. */
  get err(): E {
    assert(!this.isOk, "this result is no error");
    return this.error;
  }
}

/** A `result` that went well. */
export function ok<O, E>(value: O): Result<O, E> {
  if (isReference<E>()) return new Result<O, E>(true, value, changetype<E>(<usize>0));
  return new Result<O, E>(true, value, <E>0);
}

/** A `result` that did not. */
export function err<O, E>(error: E): Result<O, E> {
  if (isReference<O>()) return new Result<O, E>(false, changetype<O>(<usize>0), error);
  return new Result<O, E>(false, <O>0, error);
}

export class Tuple1<A> { constructor(public _0: A) {} }
export class Tuple2<A, B> { constructor(public _0: A, public _1: B) {} }
export class Tuple3<A, B, C> { constructor(public _0: A, public _1: B, public _2: C) {} }
export class Tuple4<A, B, C, D> { constructor(public _0: A, public _1: B, public _2: C, public _3: D) {} }
export class Tuple5<A, B, C, D, E> { constructor(public _0: A, public _1: B, public _2: C, public _3: D, public _4: E) {} }
export class Tuple6<A, B, C, D, E, F> { constructor(public _0: A, public _1: B, public _2: C, public _3: D, public _4: E, public _5: F) {} }
export class Tuple7<A, B, C, D, E, F, G> { constructor(public _0: A, public _1: B, public _2: C, public _3: D, public _4: E, public _5: F, public _6: G) {} }
export class Tuple8<A, B, C, D, E, F, G, H> { constructor(public _0: A, public _1: B, public _2: C, public _3: D, public _4: E, public _5: F, public _6: G, public _7: H) {} }

/** For asc's `--use abort=…`: a program without any import of its own dies by a trap. */
export function abort(_message: string | null, _file: string | null, _line: u32, _column: u32): void {
  unreachable();
}
