/**
 * What guests of a devnet find on their network: `guestHost.ts DIRECTORY GENESIS ADDRESS CHAIN-PORT GENESIS-PORT` runs the chain's validator, as they keep no
 * bytes that one needs, and serves the genesis. It ends when its stdin does, and so with whoever started it.
 */
import { readFile } from "node:fs/promises";
import { once } from "node:events";
import { createServer } from "node:http";
import { multiaddressOf } from "#chain/network/addresses.ts";
import { verifyNatively } from "#os/verification.ts";
import { startValidator } from "#tools/chain/validator.ts";

const [directory = "", genesisFile = "", address = "", chainPort = "", genesisPort = ""] = process.argv.slice(2);
verifyNatively((line) => console.error(line));
const genesis = new Uint8Array(await readFile(genesisFile));
const { stop } = await startValidator({ directory, genesis, listen: [multiaddressOf(`${address}:${chainPort}`)!], peers: [] });
const server = createServer((_, answer) => void answer.writeHead(200, { "content-type": "application/octet-stream" }).end(genesis)).listen(Number(genesisPort), address);
await once(server, "listening");
process.stdin.on("end", () => void stop().finally(() => process.exit(0))).resume();
process.stdout.write("ready\n");
