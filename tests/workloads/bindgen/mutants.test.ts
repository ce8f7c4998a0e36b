/**
 * WIT with random mistakes: each text is bound or refused with a WitError, never anything else, and what is bound here is what
 * wasm-tools takes. GODWIT_BINDGEN_MUTANTS=N tries N texts.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { componentEmbed } from "@bytecodealliance/jco-transpile/wasm-tools";
import { generateBindings } from "#workloads/sdk/bindgen/generate.ts";
import { WitError } from "#workloads/sdk/bindgen/wit-error.ts";
import { sources } from "./compile.ts";
import { Chance } from "./values.ts";

const mutants = Number(process.env["GODWIT_BINDGEN_MUTANTS"] ?? 600);
const WIT = `package t:t@1.0.0;
interface a {
  use b.{x, y as z};
  resource r { constructor(p: u8); m: func(q: borrow<r>) -> result<_, z>; s: static func() -> r; }
  type l = list<option<x>>; enum e { one, two } flags f { p, q } variant v { n, m(l) }
  /// Docs.
  f1: func(a: tuple<u8, string>, b: v) -> result<r>;
}
interface b { record x { a: u8, b: string } type y = x; @since(version = 1.0.0) g: func(); @unstable(feature = q) h: func(); }
world w {
  use a.{e}; import a; export b; import k: func(p: e) -> char; include v with { pp as oo }
  export n: interface { use b.{x}; o: func(p: x); } type t = u32;
}
world v { import pp: func(); export qq: func(); import b; }`;

/** One or two words of the text are dropped, doubled, exchanged or put elsewhere. */
function mutant(chance: Chance): string {
  const words = WIT.split(/(\s+|[{}()<>,;:=.@/]|->)/).filter((word) => word !== "");
  for (let left = 1 + chance.below(2); left > 0; left--) {
    const [i, j] = [chance.below(words.length), chance.below(words.length)];
    const [first = "", second = ""] = [words[i], words[j]];
    switch (chance.below(4)) {
      case 0: words.splice(i, 1); break;
      case 1: words[i] = second; break;
      case 2: words.splice(i, 0, second); break;
      default: [words[i], words[j]] = [second, first];
    }
  }
  return words.join("");
}

test(`${mutants} texts with mistakes: bound when wasm-tools takes them, refused with a code when not`, async () => {
  let bound = 0;
  for (let seed = 1; seed <= mutants; seed++) {
    const text = mutant(new Chance(seed));
    let refused: unknown = null;
    try {
      generateBindings(sources(text), { world: "w" });
      bound++;
    } catch (error) {
      assert(error instanceof WitError, `seed ${seed}: ${error instanceof Error ? error.stack : String(error)}`);
      // Fields of one name are taken by wasm-tools' parser and refused by its validator; here they are refused at once.
      if (error.code === "wit_name_duplicate") continue;
      refused = error.message;
    }
    const theirs = await componentEmbed({ dummy: true, witSource: text, world: "w" }).then(() => null, (error: unknown) => String(error));
    assert.equal(refused === null, theirs === null, `seed ${seed}: we say ${String(refused)}, wasm-tools says ${theirs}\n${text}`);
  }
  assert(bound > mutants / 20, `only ${bound} were bound`);
});
