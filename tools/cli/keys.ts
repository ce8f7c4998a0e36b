/**
 * Account keys as files, and which of them signs.
 *
 * One file per account, mode 0600 in a folder of mode 0700: `$XDG_CONFIG_HOME/godwit/accounts`, else `~/.godwit/accounts`.
 * A file that others can read is refused, as ssh does. The development machine of `npm start` keeps its account in its own
 * data folder (`~/.godwit/dev`, or `$GODWIT_DATA`), where `dev` finds it, and writes there which address its API has.
 */
import { randomBytes } from "node:crypto";
import { chmod, link, mkdir, open, readFile, readdir, stat, unlink } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { addressOf, addressText } from "#chain/codec/address.ts";
import { generateKey, publicKeyOf } from "#chain/crypto.ts";
import { type Address, type PublicKey, fromHex, hex } from "#chain/types.ts";
import { writeWhole } from "#os/keys.ts";
import { CliError, UsageError } from "./command.ts";

/** Where files are looked for: a part of `Shell`. */
export type Surroundings = {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly homeDirectory: string;
  readonly currentDirectory: string;
};

export type Account = {
  readonly name: string;
  readonly file: string;
  readonly address: Address;
  readonly addressText: string;
  readonly publicKey: PublicKey;
  readonly seed: Uint8Array;
};

/** The account of the development machine is called so, and no other. */
export const DEVELOPMENT_NAME = "dev";
export const DEVELOPMENT_ACCOUNT_FILE = "keys/development";
export const DEVELOPMENT_API_FILE = "api.json";
export const API_URL_DEFAULT = "http://127.0.0.1:7480";

const FORMAT = "godwit-account-1";
const FILE_BYTES_MAX = 4096;
const NAME = /^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/;
const SEED = /^[0-9a-f]{64}$/;
const OTHERS_MAY_READ = 0o077;

export const accountsFolder = (around: Surroundings): string => {
  const configuration = around.environment["XDG_CONFIG_HOME"];
  return configuration !== undefined && configuration.startsWith("/") ? join(configuration, "godwit", "accounts") : join(around.homeDirectory, ".godwit", "accounts");
};

/** The data folder of the development machine. */
export const developmentFolder = (around: Surroundings): string => {
  const folder = around.environment["GODWIT_DATA"];
  return folder !== undefined && folder !== "" ? resolve(around.currentDirectory, folder) : join(around.homeDirectory, ".godwit", "dev");
};

/** Makes a new key and its file; never overwrites one. */
export async function createAccount(folder: string, name: string): Promise<Account> {
  if (!NAME.test(name) || name === DEVELOPMENT_NAME) throw new UsageError(`An account name is 1 to 32 of a-z, 0-9 and "-", and not "${DEVELOPMENT_NAME}": "${name}"`);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  return writeAccountFile(join(folder, `${name}.json`), name, generateKey().privateKey);
}

/** Writes an account file, whole or not at all (written beside it, flushed, then linked to its name). */
export async function writeAccountFile(file: string, name: string, seed: Uint8Array): Promise<Account> {
  const account = accountOf(file, name, seed);
  const text = JSON.stringify({ format: FORMAT, name, address: account.addressText, seed: hex(seed) });
  const draft = `${file}.${randomBytes(6).toString("hex")}`;
  try {
    await writeFlushed(draft, `${text}\n`);
    // Unlike rename, link refuses to replace a file: two calls at once make one account.
    await link(draft, file);
  } catch (error) {
    if (codeOf(error) === "EEXIST") throw new CliError("account_exists", `Cannot make account "${name}" as ${file} exists`);
    throw new CliError("account_unwritable", `Cannot write account file ${file}: ${messageOf(error)}`, {}, error);
  } finally {
    await unlink(draft).catch(() => undefined);
  }
  return account;
}

/** Reads an account file strictly: its mode, its form, and that its address belongs to its key. */
export async function readAccountFile(file: string): Promise<Account> {
  let text: string;
  try {
    const { mode, size } = await stat(file);
    if ((mode & OTHERS_MAY_READ) !== 0) throw new CliError("account_exposed", `Cannot use account file ${file} as others can read it: run chmod 600 on it`);
    if (size > FILE_BYTES_MAX) throw new CliError("account_malformed", `Cannot read account file ${file}: it has ${size} bytes`);
    text = await readFile(file, "utf8");
  } catch (error) {
    if (error instanceof CliError) throw error;
    if (codeOf(error) === "ENOENT") throw new CliError("account_unknown", `Cannot read account file ${file}: it is not there`);
    throw new CliError("account_unreadable", `Cannot read account file ${file}: ${messageOf(error)}`, {}, error);
  }
  // A bare seed in hex is how the machine keeps its own keys (os/keys.ts): such a file is an account too.
  if (SEED.test(text.trim())) return accountOf(file, basename(file).replace(/\.[a-z]+$/, ""), fromHex(text.trim()));
  const { format, name, address, seed } = parseObject(text);
  if (format !== FORMAT || typeof name !== "string" || typeof seed !== "string" || !SEED.test(seed))
    throw new CliError("account_malformed", `Cannot read account file ${file}: it is not an account of format ${FORMAT}`);
  const account = accountOf(file, name, fromHex(seed));
  if (account.addressText !== address) throw new CliError("account_malformed", `Cannot use account file ${file} as its address does not belong to its key`);
  return account;
}

/** All accounts that have a file, by name, the development account first. */
export async function listAccounts(around: Surroundings): Promise<Account[]> {
  const stored = await Promise.all((await storedNames(around)).map((name) => namedAccount(around, name)));
  const development = await readDevelopmentAccount(around);
  return development === null ? stored : [development, ...stored];
}

/** The account that signs: as named, else $GODWIT_ACCOUNT, else the one in use, else the development account, else the only one. */
export async function chooseAccount(around: Surroundings, named: string | undefined): Promise<Account> {
  const wanted = named ?? around.environment["GODWIT_ACCOUNT"] ?? (await accountInUse(around));
  if (wanted !== undefined && wanted !== "") return namedAccount(around, wanted);
  const development = await readDevelopmentAccount(around);
  if (development !== null) return development;
  const names = await storedNames(around);
  const [only] = names;
  if (only === undefined) throw new CliError("account_missing", "There is no account yet: make one with godwit account new NAME, or run npm start for a development machine with a funded one (started with --data DIR: export GODWIT_DATA=DIR)");
  if (names.length > 1) throw new CliError("account_ambiguous", `There are ${names.length} accounts: choose with --account NAME or godwit account use NAME`);
  return namedAccount(around, only);
}

/** An account by name, or by the path of its file. */
export async function namedAccount(around: Surroundings, wanted: string): Promise<Account> {
  if (wanted.includes("/") || wanted.endsWith(".json")) return readAccountFile(resolve(around.currentDirectory, wanted));
  if (wanted === DEVELOPMENT_NAME) {
    const development = await readDevelopmentAccount(around);
    if (development !== null) return development;
    throw new CliError("account_unknown", `There is no development account in ${developmentFolder(around)}: run npm start`);
  }
  if (!NAME.test(wanted)) throw new CliError("account_unknown", `There is no account "${wanted}"`);
  const file = join(accountsFolder(around), `${wanted}.json`);
  return readAccountFile(file).catch((error: unknown) => {
    if (error instanceof CliError && error.code === "account_unknown") throw new CliError("account_unknown", `There is no account "${wanted}" in ${accountsFolder(around)}`);
    throw error;
  });
}

/** The name that `account use` wrote down. */
export async function accountInUse(around: Surroundings): Promise<string | undefined> {
  const text = await readFile(join(accountsFolder(around), "in-use"), "utf8").catch(() => "");
  return text.trim() === "" ? undefined : text.trim();
}

export async function useAccount(around: Surroundings, name: string): Promise<void> {
  const folder = accountsFolder(around);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await writeWhole(join(folder, "in-use"), new TextEncoder().encode(`${name}\n`));
}

async function storedNames(around: Surroundings): Promise<string[]> {
  const files = await readdir(accountsFolder(around)).catch((): string[] => []);
  return files.filter((file) => file.endsWith(".json")).map((file) => file.slice(0, -".json".length)).toSorted();
}

async function readDevelopmentAccount(around: Surroundings): Promise<Account | null> {
  const file = join(developmentFolder(around), DEVELOPMENT_ACCOUNT_FILE);
  try {
    return { ...(await readAccountFile(file)), name: DEVELOPMENT_NAME };
  } catch (error) {
    if (error instanceof CliError && error.code === "account_unknown") return null;
    throw error;
  }
}

/** What the development machine tells the command line about itself, in its data folder, while it runs. */
export async function writeDevelopmentApi(folder: string, url: string): Promise<void> {
  await writeWhole(join(folder, DEVELOPMENT_API_FILE), new TextEncoder().encode(`${JSON.stringify({ url })}\n`));
}

/** The API to talk to: as named, else $GODWIT_API, else the running development machine's, else the default port here. */
export async function chooseApi(around: Surroundings, named: string | undefined): Promise<string> {
  const wanted = named ?? around.environment["GODWIT_API"];
  if (wanted !== undefined && wanted !== "") return checkedUrl(wanted);
  const text = await readFile(join(developmentFolder(around), DEVELOPMENT_API_FILE), "utf8").catch(() => "{}");
  const { url } = parseObject(text);
  return typeof url === "string" && URL.canParse(url) ? checkedUrl(url) : API_URL_DEFAULT;
}

function checkedUrl(text: string): string {
  const url = URL.parse(text);
  if (url === null || (url.protocol !== "http:" && url.protocol !== "https:") || url.pathname !== "/" || url.search !== "")
    throw new UsageError(`The API must be a URL such as ${API_URL_DEFAULT}, not "${text}"`);
  return url.origin;
}

function accountOf(file: string, name: string, seed: Uint8Array): Account {
  const publicKey = publicKeyOf(seed);
  const address = addressOf(publicKey);
  return { name, file, address, addressText: addressText(address), publicKey, seed };
}

async function writeFlushed(file: string, text: string): Promise<void> {
  const handle = await open(file, "wx", 0o600);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  // The mode given to open() goes through the umask: a strange one must not leave a file that nobody can read.
  await chmod(file, 0o600);
  const folder = await open(dirname(file), "r");
  await folder.sync().finally(() => folder.close());
}

function parseObject(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : {};
  } catch {
    return {};
  }
}

const codeOf = (error: unknown): string | undefined => (error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined);
const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
