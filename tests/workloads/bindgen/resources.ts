/** Worlds of resources; their programs are in assembly/. A world that uses the host's resources and has its own: */
export const RESOURCES = `package test:resources@1.0.0;

interface host {
  /// A thing of the host.
  resource thing {
    constructor(name: string);
    name: func() -> string;
    rename: func(name: string) -> result<string, string>;
    %drop: func() -> u32;
    join: static func(a: thing, b: borrow<thing>) -> thing;
    none: static func() -> option<thing>;
  }
  resource sure {
    constructor(name: string) -> result<sure, string>;
    name: func() -> string;
  }
  lengths: func(things: list<borrow<thing>>) -> list<u32>;
  make: func(count: u32) -> list<thing>;
  swallow: func(things: list<thing>) -> u32;
}

interface guest {
  use host.{thing};
  record pair { first: counter, second: option<counter> }
  variant carried { nothing, one(counter), pair(pair) }
  resource counter {
    constructor(start: u32);
    next: func() -> u32;
    add: func(other: borrow<counter>) -> u32;
    twin: func() -> counter;
    merge: static func(a: counter, b: counter) -> counter;
    label: func(t: borrow<thing>) -> string;
  }
  resource plain;
  pass: func(c: counter) -> counter;
  unpack: func(c: carried) -> carried;
  sum: func(all: list<borrow<counter>>) -> u32;
  many: func(count: u32) -> list<counter>;
  swallow: func(all: list<counter>) -> u32;
  make-plain: func() -> plain;
  use-plain: func(p: borrow<plain>) -> bool;
  dropped: func() -> u32;
  describe: func(t: borrow<thing>, more: list<borrow<thing>>, last: option<borrow<thing>>) -> string;
  through: func(t: thing) -> thing;
  made: func(names: list<string>) -> u32;
  tried: func(name: string) -> string;
  left: func() -> s32;
}

world w {
  import host;
  export guest;
}
`;

/** Two components for wasmtime: one has a resource, the other, a task, uses it in every way. */
export const STORE = `package test:store@1.0.0;
interface store {
  record pair { first: item, second: option<item> }
  resource item {
    constructor(name: string) ;
    name: func() -> string;
    longer: func(other: borrow<item>) -> bool;
    join: static func(a: item, b: item) -> item;
    parse: static func(text: string) -> result<item, string>;
  }
  resource strict { constructor(name: string) -> result<strict, u32>; }
  pass: func(i: item) -> item;
  make-pair: func(a: item, b: option<item>) -> pair;
  swap: func(p: pair) -> pair;
  longest: func(all: list<borrow<item>>) -> option<u32>;
  split: func(text: string) -> list<item>;
  give-back: func(all: list<item>) -> u32;
  dropped: func() -> u32;
  left: func() -> s32;
}
world keeper { export store; }
world task { import store; export wasi:cli/run@0.2.12; }
`;

/** The world of a task that calls into most of WASI. */
export const WASI_WORLD = `package test:wasi;
world w {
  import wasi:cli/environment@0.2.12; import wasi:cli/stdout@0.2.12; import wasi:cli/terminal-stdin@0.2.12;
  import wasi:io/poll@0.2.12; import wasi:io/streams@0.2.12;
  import wasi:clocks/monotonic-clock@0.2.12; import wasi:clocks/wall-clock@0.2.12;
  import wasi:random/random@0.2.12; import wasi:random/insecure-seed@0.2.12;
  import wasi:filesystem/preopens@0.2.12;
  import wasi:http/types@0.2.12; import wasi:http/outgoing-handler@0.2.12;
  export wasi:cli/run@0.2.12;
}`;
