// What the shop sells, and what an order costs. Money is whole cents.
import { Json, JsonObject, Kind, jsonList } from "./json";

const COUNT_MAX = 1000;
const LINES_MAX = 50;

export class Item {
  constructor(public id: string, public name: string, public cents: i32) {}

  toJson(): string {
    return new JsonObject().text("id", this.id).text("name", this.name).integer("cents", this.cents).toString();
  }
}

export const ITEMS: Item[] = [new Item("tea", "Green tea, 100 g", 850), new Item("pot", "Tea pot, 0.8 l", 3200), new Item("cup", "Cup", 690)];

/** Null when there is no item of that id. */
export function itemOf(id: string): Item | null {
  for (let i = 0; i < ITEMS.length; i++) {
    if (ITEMS[i].id == id) return ITEMS[i];
  }
  return null;
}

export class Refusal {
  constructor(public code: string, public message: string) {}
}

/** Either the quote as JSON, or why there is none. AssemblyScript has no exceptions: a "no" is a value. */
export class Quoted {
  constructor(public json: string, public refusal: Refusal | null = null) {}
}

export function quote(order: Json): Quoted {
  const lines = order.get("lines");
  if (!lines || lines.kind != Kind.List) return refused("lines_missing", '"lines" must be a list');
  if (lines.list.length < 1 || lines.list.length > LINES_MAX) return refused("lines_invalid", "A quote has 1 to " + LINES_MAX.toString() + " lines");
  const priced: string[] = [];
  let totalCents: i64 = 0;
  for (let i = 0; i < lines.list.length; i++) {
    const line = lines.list[i];
    const item = itemOf(line.textOf("item"));
    if (!item) return refused("item_unknown", "Line " + (i + 1).toString() + " names no item of ours");
    const count = line.get("count");
    // NaN is none of these.
    if (!count || count.kind != Kind.Number || !(count.number >= 1 && count.number <= COUNT_MAX && Math.floor(count.number) == count.number)) {
      return refused("count_invalid", "Line " + (i + 1).toString() + ' needs a "count" from 1 to ' + COUNT_MAX.toString());
    }
    const cents = <i64>item.cents * <i64>count.number;
    totalCents += cents;
    priced.push(new JsonObject().text("item", item.id).integer("count", <i64>count.number).integer("cents", cents).toString());
  }
  return new Quoted(new JsonObject().raw("lines", jsonList(priced)).integer("totalCents", totalCents).toString());
}

function refused(code: string, message: string): Quoted {
  return new Quoted("", new Refusal(code, message));
}
