/**
 * The ways of `npm run test:boot` that look at one machine: its screen, its key after a loss of power, a VLAN, and what becomes of it when its agent hangs or its memory
 * is used up.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { copyFile, mkdir, mkdtemp } from "node:fs/promises";
import { type AddressInfo, type Socket, createServer } from "node:net";
import { join } from "node:path";
import { eventually } from "#tests/e2e/stage.ts";
import { buildImage } from "#tools/image/build.ts";
import { type Facts, JOIN_MS_MAX, WORDS, accepts, boots, stick, switchedOff, uefi } from "./boots.ts";
import { type Qemu, directBoot, startQemu } from "./qemu.ts";

const SEEN_MS_MAX = 60_000;
/** PID 1's patience and a start of the machine. */
const HANG_MS_MAX = 300_000;

/** On its screen: name, address, height, leases, load; painted again as the chain goes on; and nothing of what is typed. */
export async function showsItself(machine: Qemu): Promise<Facts> {
  const seen = async (pattern: RegExp): Promise<RegExpExecArray> => await eventually(`${pattern} on the screen`, async () => pattern.exec(await machine.screenText()), SEEN_MS_MAX);
  for (const pattern of [/ godwit +godwit \d/, /address +eth0 10\.0\.2\.15\/24/, /api +http:\/\/10\.0\.2\.15:7480/, /leases +0;/, /load +\d/]) await seen(pattern);
  const before = Number((await seen(/height (\d+),/))[1]);
  for (const key of ["z", "q", "z", "q", "z", "q", "ret"]) await machine.monitor(`sendkey ${key}`);
  await eventually("it is painted again", async () => Number((await seen(/height (\d+),/))[1]) > before, SEEN_MS_MAX);
  assert.doesNotMatch(await machine.screenText(), /zqzqzq/);
  const [, used] = await seen(/memory +(\d+) of \d+ MiB in use/);
  return { memoryMibInUse: Number(used) };
}

export async function startTpm(work: string): Promise<AsyncDisposable & { readonly words: readonly string[] }> {
  const state = await mkdtemp(join(work, "tpm-"));
  return await tpmIn(state);
}

/** QEMU ends it; what it remembers is in the folder. */
async function tpmIn(state: string): Promise<AsyncDisposable & { readonly words: readonly string[] }> {
  const socket = join(state, "socket");
  const tpm = spawn("swtpm", ["socket", "--tpm2", "--tpmstate", `dir=${state}`, "--ctrl", `type=unixio,path=${socket}`, "--flags", "startup-clear"], { stdio: "ignore" });
  const ended = once(tpm, "exit");
  await eventually("the TPM is there", async () => existsSync(socket), SEEN_MS_MAX);
  return {
    words: ["-chardev", `socket,id=tpm,path=${socket}`, "-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm0"],
    [Symbol.asyncDispose]: async () => {
      tpm.kill();
      await ended;
    },
  };
}

/** The first boot makes the key, the second has it: the same machine to the ledger. */
export async function sameByTpm(work: string, plain: string): Promise<Facts> {
  const state = await mkdtemp(join(work, "tpm-"));
  // One firmware with one memory, as a machine has: PCR 7 is of it.
  const firmware = uefi(work);
  return await sameTwice(/made, and kept in the TPM/, /from the TPM/, async (then) => {
    await using tpm = await tpmIn(state);
    return await boots({ boot: [...firmware, ...stick(join(plain, "godwit.img")), ...tpm.words] }, then);
  });
}

export async function sameByStick(work: string, plain: string): Promise<Facts> {
  const image = join(work, "own-stick.img");
  await copyFile(join(plain, "godwit.img"), image);
  return await sameTwice(/made, and kept in the partition/, /from the partition/, async (then) => await boots({ boot: stick(image, true) }, then));
}

async function sameTwice(first: RegExp, second: RegExp, boot: (then: (machine: Qemu) => Promise<Facts>) => Promise<Facts>): Promise<Facts> {
  const look = (line: RegExp) => async (machine: Qemu): Promise<Facts> => {
    assert.match(/ identity +\d+ ms (.*)/.exec(machine.serial())?.[1] ?? "", line);
    const { body } = await machine.answered(machine.apiPort, "/v1/status", JOIN_MS_MAX, ({ status }) => status === 200);
    return { machine: (JSON.parse(body) as { machine: string }).machine };
  };
  const before = await boot(look(first));
  const after = await boot(look(second));
  assert.equal(after["machine"], before["machine"]);
  return after;
}

/** The kernel's own key for "memory is used up": it ends what runs tenants' code, and the agent goes on. */
export async function outOfMemory(machine: Qemu): Promise<Facts> {
  await machine.monitor("sendkey alt-sysrq-f");
  await machine.printed(/Out of memory: Killed process \d+ \(godwit-runner\)/, SEEN_MS_MAX);
  await machine.answered(machine.apiPort, "/healthz", JOIN_MS_MAX, ({ status }) => status === 200);
  assert.doesNotMatch(machine.serial(), /the agent ended/);
  return {};
}

/** PID 1 hears nothing of it for two minutes, says so and restarts the machine, which is what QEMU ends at. */
export async function hangs(work: string): Promise<Facts> {
  const out = join(work, "hangs");
  await mkdir(out);
  await buildImage({ target: "uki", effort: "quick", out, words: WORDS, program: "tests/boot/hangs.ts" });
  await using machine = await startQemu({ boot: directBoot(out, WORDS) });
  await accepts(machine);
  const begun = performance.now();
  await machine.printed(/the agent has said nothing for 120 s: it hangs[\s\S]*restarting/, HANG_MS_MAX);
  assert.equal(await machine.off, 0);
  return { restartedMs: Math.round(performance.now() - begun) };
}

const TAG = 120;
const [OWN, THEIRS] = ["0a4f0001", "0a4f0002"];
/** Ethernet, IPv4, lengths of their addresses. */
const ARP = "000108000604";
const TAGGED = `8100${TAG.toString(16).padStart(4, "0")}`;

/** The other end of its cable is here, frame by frame: asked on the VLAN it answers on the VLAN. */
export async function onVlan(plain: string): Promise<Facts> {
  const answered = Promise.withResolvers<string>();
  const server = createServer((socket) => speak(socket, answered.resolve)).listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    await using machine = await startQemu({
      boot: directBoot(plain, [...WORDS, `godwit.address=eth0.${TAG},10.79.0.2/24`]),
      network: () => ["-netdev", `socket,id=n0,connect=127.0.0.1:${(server.address() as AddressInfo).port}`, "-device", "virtio-net-pci,netdev=n0,romfile="],
    });
    await machine.printed(/ address +\d+ ms eth0\.120 10\.79\.0\.2\/24/, JOIN_MS_MAX);
    const frame = await Promise.race([answered.promise, machine.off.then(() => "")]);
    assert.match(frame, new RegExp(`^.{24}${TAGGED}0806`));
    await accepts(machine);
    await switchedOff(machine);
    return {};
  } finally {
    server.close();
  }
}

/** QEMU's own framing: a length of four bytes before each frame. Asks who has the machine's address (ARP, RFC 826) until it says. */
function speak(socket: Socket, onAnswer: (frame: string) => void): void {
  const request = Buffer.from(`ffffffffffff020000000001${TAGGED}0806${ARP}0001020000000001${OWN}000000000000${THEIRS}`, "hex");
  const length = Buffer.alloc(4);
  length.writeUInt32BE(request.length);
  const timer = setInterval(() => socket.write(Buffer.concat([length, request])), 500);
  let waiting = Buffer.alloc(0);
  socket.on("error", () => {}).on("close", () => clearInterval(timer)).on("data", (chunk: Buffer) => {
    waiting = Buffer.concat([waiting, chunk]);
    while (waiting.length >= 4 && waiting.length >= 4 + waiting.readUInt32BE(0)) {
      const frame = waiting.subarray(4, 4 + waiting.readUInt32BE(0)).toString("hex");
      waiting = waiting.subarray(4 + frame.length / 2);
      if (new RegExp(`0806${ARP}0002.{12}${THEIRS}`).test(frame)) onAnswer(frame);
    }
  });
}
