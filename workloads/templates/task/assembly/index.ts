// A task is one function from its arguments to an exit code. This one counts the words of its standard input:
//
//   starter [COUNT] < text     prints the COUNT most frequent words, 10 if it is not said.
import { stderr, stdin, stdout } from "godwit/cli";
import { wordsOf } from "./words";

class Tally {
  count: i32 = 0;

  constructor(public word: string) {}
}

export function main(args: string[]): i32 {
  const shown = args.length == 0 ? 10 : <i32>parseInt(args[0]);
  if (args.length > 1 || shown < 1) {
    stderr.writeLine("usage: starter [COUNT] < text");
    return 1;
  }
  const tallies = new Map<string, Tally>();
  for (let line = stdin.readLine(); line !== null; line = stdin.readLine()) count(tallies, wordsOf(line));

  const all = tallies.values();
  all.sort((a, b) => (a.count == b.count ? (a.word < b.word ? -1 : 1) : b.count - a.count));
  for (let i = 0; i < min(shown, all.length); i++) stdout.writeLine(all[i].count.toString().padStart(6) + "  " + all[i].word);
  return 0;
}

function count(tallies: Map<string, Tally>, words: string[]): void {
  for (let i = 0; i < words.length; i++) {
    const word = words[i];
    if (!tallies.has(word)) tallies.set(word, new Tally(word));
    tallies.get(word).count++;
  }
}
