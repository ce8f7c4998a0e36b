// A task: arguments and standard input come in, lines and an exit code go out.
//
//   tally KEY VALUE < table.csv     adds up column VALUE for every value of column KEY, largest sum first.
//
// The input is read line by line, so a file of any size fits into a small memory. Amounts are kept as whole hundredths:
// money and floating point do not go together.
import { stderr, stdin, stdout } from "godwit/cli";
import { hundredths, hundredthsText } from "./money";

class Sum {
  total: i64 = 0;
  rows: i32 = 0;

  constructor(public key: string) {}
}

export function main(args: string[]): i32 {
  if (args.length != 2) return fail("usage: tally KEY VALUE < table.csv");
  const header = stdin.readLine();
  if (header === null) return fail("the input is empty");
  const columns = header.split(",");
  const keyColumn = columns.indexOf(args[0]);
  const valueColumn = columns.indexOf(args[1]);
  if (keyColumn < 0 || valueColumn < 0) return fail("no column \"" + args[keyColumn < 0 ? 0 : 1] + "\" among " + columns.join(", "));

  const sums = new Map<string, Sum>();
  let lineNumber = 1;
  for (let line = stdin.readLine(); line !== null; line = stdin.readLine()) {
    lineNumber++;
    if (line == "") continue;
    const cells = line.split(",");
    if (cells.length != columns.length) return fail("line " + lineNumber.toString() + " has " + cells.length.toString() + " columns, the header " + columns.length.toString());
    const amount = hundredths(cells[valueColumn]);
    if (amount == i64.MIN_VALUE) return fail("line " + lineNumber.toString() + ": \"" + cells[valueColumn] + "\" is not an amount");
    add(sums, cells[keyColumn], amount);
  }
  print(sums.values());
  return 0;
}

function add(sums: Map<string, Sum>, key: string, amount: i64): void {
  if (!sums.has(key)) sums.set(key, new Sum(key));
  const sum = sums.get(key);
  sum.total += amount;
  sum.rows++;
}

function print(sums: Sum[]): void {
  sums.sort((a, b) => (a.total == b.total ? (a.key < b.key ? -1 : 1) : a.total > b.total ? -1 : 1));
  let total: i64 = 0;
  for (let i = 0; i < sums.length; i++) {
    total += sums[i].total;
    stdout.writeLine(hundredthsText(sums[i].total).padStart(14) + "  " + sums[i].key + " (" + sums[i].rows.toString() + ")");
  }
  stdout.writeLine(hundredthsText(total).padStart(14) + "  in all");
}

function fail(message: string): i32 {
  stderr.writeLine("tally: " + message);
  return 1;
}
