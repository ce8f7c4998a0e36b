/** Help, wrong usage and exit codes: what holds for every command. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { parseCmdline } from "#os/boot/cmdline.ts";
import { COMMANDS } from "#tools/cli/main.ts";
import { openTerminal } from "./terminal.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const commands = COMMANDS.flatMap(([, group]) => group);

test("no command at all is wrong usage, and shows what there is", async (t) => {
  const { code, stdout, stderr } = await openTerminal(t).run();
  assert.equal(code, 2);
  assert.equal(stdout, "");
  for (const { name } of commands) assert(new RegExp(`^ {2}${name} `, "m").test(stderr), name);
});

test("--help prints to stdout and exits 0, everywhere", async (t) => {
  const terminal = openTerminal(t);
  for (const args of [["--help"], ["-h"], ["help"], ...commands.flatMap(({ name }) => [[name, "--help"], [name, "-h"], ["help", name]])]) {
    const { code, stdout, stderr } = await terminal.run(...args);
    assert.equal(code, 0, args.join(" "));
    assert.equal(stderr, "");
    assert.match(stdout, /^Usage: godwit/);
    for (const line of stdout.split("\n")) assert(line.length <= 120, `"${line}" is too wide`);
  }
});

test("help tells every option, form and default of a command", async (t) => {
  const { stdout } = await openTerminal(t).run("deploy", "--help");
  for (const text of ["godwit deploy [DIR]", "godwit deploy FILE [--manifest FILE]", "--deposit TOKENS", "--wait SECONDS", "--account NAME|FILE", "--api URL", "--json", "-h, --help"])
    assert(stdout.includes(text), text);
});

test("each command that an operator reads of exists, with these words and options; and so does each word of the kernel's command line", () => {
  const text = ["os/README.md", "tools/netboot/README.md", "tools/image/README.md"].map((file) => readFileSync(join(ROOT, file), "utf8")).join("\n");
  const spans = [...text.matchAll(/`(godwit [^`]+)`/g), ...text.matchAll(/^# (godwit .*)$/gm)].map(([, span]) => span!.split("        ")[0]!);
  assert.ok(spans.length > 15, `${spans.length} commands`);
  for (const span of spans) {
    const [, name = "", ...words] = span.replaceAll(/"[^"]*"/g, "…").split(/\s+/);
    const command = commands.find((one) => one.name === name);
    assert.ok(command !== undefined, span);
    const known = new Set([...Object.keys(command.options), "json", "help"]);
    for (const word of words.filter((one) => one.startsWith("--"))) assert.ok(known.has(word.slice(2)), `${span}: ${word}`);
    // Verbs stand first: `machine reboot|poweroff`.
    const [verb = ""] = words;
    if (/^[a-z|]+$/.test(verb)) for (const one of verb.split("|")) assert.match(command.usage.join("\n"), new RegExp(`(?:^|[ |])${one}(?:$|[ |])`, "m"), span);
  }
  const said = new Set([...text.matchAll(/godwit\.([a-z-]+)=/g)].map(([, word]) => word!));
  const nothing = parseCmdline("godwit.nothing=1");
  assert.ok(!nothing.ok);
  const known = [...nothing.errors[0]!.message.matchAll(/godwit\.([a-z-]+)/g)].map(([, word]) => word!).filter((word) => word !== "nothing");
  // An upgrade writes that one, and nobody else.
  assert.deepEqual(said, new Set(known.filter((word) => word !== "trial")));
});

test("a wrong word is refused with exit code 2 and the nearest right one", async (t) => {
  const terminal = openTerminal(t);
  const rows: [string[], RegExp][] = [
    [["dploy"], /did you mean deploy\?/], [["help", "bil"], /did you mean bill\?/], [["logz"], /did you mean logs\?/], [["kubernetes"], /no command "kubernetes"$/m], [["--frob"], /no command "--frob"$/m],
    [["account", "lst"], /did you mean list\?/], [["account", "frobnicate"], /new, list, show, use, keys, authorise, revoke or threshold/], [["chain", "mine"], /replay/],
  ];
  for (const [args, message] of rows) {
    const { code, stdout, stderr } = await terminal.run(...args);
    assert.equal(code, 2, args.join(" "));
    assert.equal(stdout, "");
    assert.match(stderr, /^error usage: /);
    assert.match(stderr, message);
  }
});

test("wrong arguments show how that command is written, and no other", async (t) => {
  const { stderr } = await openTerminal(t).run("new");
  assert.match(stderr, /^Usage: godwit new NAME/m);
  assert.match(stderr, /^Try godwit new --help$/m);
});

test("arguments are read strictly: nothing is ignored, nothing is guessed", async (t) => {
  const terminal = openTerminal(t);
  const wrong: string[][] = [
    ["ps", "--frob"], ["ps", "extra"], ["ps", "--api"], ["ps", "--all=yes"], ["bill"], ["bill", "a", "b"], ["scale", "a"], ["scale", "a", "0"], ["scale", "a", "257"], ["scale", "a", "--max", "2", "--cpu", "50", "--rate-max", "0.000003"],
    ["scale", "a", "two"], ["scale", "a", "1.5"], ["scale", "a", "-1"], ["resize", "a"], ["resize", "a", "--memory", "0"], ["resize", "a", "--memory", "x"],
    ["topup", "a", "0"], ["topup", "a", "1e9"], ["topup", "a", "lots"], ["transfer", "gw1qqqq", "1"], ["transfer", "a", "-1"], ["logs", "a", "--tail", "1001"],
    ["tx", "12"], ["account"], ["account", "new"], ["account", "use"], ["chain", "replay"], ["deploy", "a", "b"], ["deploy", "--wait", "x"],
    ["serve", "a", "--port", "65536"], ["serve"], ["run"], ["run", "--env"], ["run", "-e", "=x", "f"], ["ps", "--api", "ftp://x"], ["ps", "--api", "nonsense"],
  ];
  await terminal.run("account", "new", "alice");
  for (const args of wrong) assert.deepEqual(await terminal.errorOf(...args), { exit: 2, code: "usage" }, args.join(" "));
});

test("an error is one line for people, and one JSON object on stderr with --json", async (t) => {
  const terminal = openTerminal(t, { GODWIT_API: "http://127.0.0.1:9" });
  const plain = await terminal.run("ps");
  assert.equal(plain.code, 1);
  assert.equal(plain.stdout, "");
  assert.match(plain.stderr, /^error account_missing: [^\n]+\n$/);
  const json = await terminal.run("ps", "--json");
  assert.equal(json.code, 1);
  assert.equal(json.stdout, "");
  assert.deepEqual(Object.keys(JSON.parse(json.stderr) as object), ["error"]);
  assert.equal((JSON.parse(json.stderr) as { error: { code: string } }).error.code, "account_missing");
});

test("errors are red on a terminal only, and not with NO_COLOR", async (t) => {
  const terminal = openTerminal(t);
  assert((await terminal.runWith({ isTerminal: true }, "frob")).stderr.startsWith("\u001b[31merror\u001b[39m usage"));
  terminal.environment["NO_COLOR"] = "1";
  assert.match((await terminal.runWith({ isTerminal: true }, "frob")).stderr, /^error usage/);
});

test("--version says the version of the package", async (t) => {
  const { code, stdout } = await openTerminal(t).run("--version");
  assert.equal(code, 0);
  assert.match(stdout, /^godwit \d+\.\d+\.\d+\n$/);
});

test("a machine that is not there is a failure that says so", async (t) => {
  const terminal = openTerminal(t, { GODWIT_API: "http://127.0.0.1:9" });
  assert.deepEqual(await terminal.errorOf("status"), { exit: 1, code: "api_unreachable" });
});
