/** The task of test:store: uses the resource of the keeper in every way, and looks that nothing is left. */
import { Item, Pair, Strict, dropped, giveBack, left as leftThere, longest, makePair, pass, split, swap } from "../gen/imports/test-store-store";
import { Result, Unit, left as leftHere, ok } from "../gen/canonical";
function turn(): void {
  const a = new Item("aé");
  const b = new Item("bbb");
  assert(b.longer(a) && !a.longer(b));
  const same = pass(a);
  assert(a.handle == 0 && same.name() == "aé");
  const swapped = swap(makePair(same, b));
  assert(swapped.first.name() == "bbb" && swapped.second!.name() == "aé");
  const alone = swap(makePair(new Item("alone"), null));
  assert(alone.second === null);
  alone.first.drop();
  const joined = Item.join(swapped.first, swapped.second!);
  assert(joined.name() == "bbbaé");
  const best = longest([joined, joined]);
  assert(best !== null && best.value == 0 && longest([]) === null);
  joined.drop();
  assert(Item.parse("").err == "empty");
  const parsed = Item.parse("text").ok;
  parsed.drop();
  assert(Strict.create("").err == 7);
  Strict.create("s").ok.drop();
  assert(giveBack(split("a,b,c,d")) == 4);
}
export namespace run {
  export function run(): Result<Unit, Unit> {
    for (let i: u32 = 1; i <= 2000; i++) {
      turn();
      assert(dropped() == 3 * i && leftThere() == 0 && leftHere() == 0);
    }
    return ok<Unit, Unit>(0);
  }
}
