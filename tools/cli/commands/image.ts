/** `godwit image`: the operating system of a machine as a file, and that file on a stick. */
import { join, resolve } from "node:path";
import { parseCmdline } from "#os/boot/cmdline.ts";
import { openKey } from "#os/keys.ts";
import { hex } from "#chain/types.ts";
import { type Command, type Input, type Shell, UsageError } from "../command.ts";
import { pairsText, print } from "../table.ts";

const TARGETS = ["uki", "netboot", "usb", "iso"] as const;
const RELEASE_MAX = 4_294_967_295;
const MB = 1e6;

export const image: Command = {
  name: "image",
  summary: "Build the operating system of a machine; write it to a stick",
  usage: ["build [--target uki|netboot|usb|iso] [--out DIR] [--append WORDS] …", "build --update-pins", "write IMAGE DEVICE [--fixed-disk]"],
  options: {
    target: { type: "string", value: "TARGET", summary: "build: what for (uki): one EFI program, netboot, a stick or a CD" },
    out: { type: "string", value: "DIR", summary: "build: where to (./godwit-image)" },
    append: { type: "string", multiple: true, value: "WORDS", summary: "build: more of the kernel's command line, as godwit.genesis=…" },
    key: { type: "string", value: "FILE", summary: "build: key that signs the manifest; made if missing (~/.godwit/image-key)" },
    release: { type: "string", value: "N", summary: "build: number of the release; machines refuse lower ones (1)" },
    expires: { type: "string", value: "TIME", summary: "build: until when machines take it (2027-12-31)" },
    "secure-boot-key": { type: "string", value: "FILE", summary: "build: your own Secure Boot key (PEM), with" },
    "secure-boot-certificate": { type: "string", value: "FILE", summary: "build: its certificate" },
    quick: { type: "boolean", summary: "build: compress less; a tenth larger, a minute sooner" },
    "update-pins": { type: "boolean", summary: "build: take the package versions that this computer's lists have" },
    "fixed-disk": { type: "boolean", summary: "write: also to a disk that is not removable" },
  },
  arguments: [1, 3],
  details: "The first build compiles the kernel, ten minutes on two cores; later ones take it from the\ncache. Same inputs, same bytes. What a machine needs to know is on the kernel's command\nline: os/README.md has the words.",
  async run(input, shell) {
    const [verb, ...rest] = input.positionals;
    if (verb === "build" && rest.length === 0) return input.flag("update-pins") ? update(input, shell) : build(input, shell);
    if (verb === "write" && rest.length === 2) return write(input, shell, resolve(shell.currentDirectory, rest[0]!), rest[1]!);
    throw new UsageError(`image needs build, or write with an image and a device`);
  },
};

async function build(input: Input, shell: Shell): Promise<void> {
  const target = TARGETS.find((one) => one === (input.text("target") ?? "uki"));
  if (target === undefined) throw new UsageError(`--target must be one of ${TARGETS.join(", ")}, not "${input.text("target")}"`);
  const words = input.texts("append").flatMap((text) => text.split(/\s+/)).filter((word) => word !== "");
  const parsed = parseCmdline(words.join(" "));
  if (!parsed.ok) throw new UsageError(`--append: ${parsed.errors.map(({ message }) => message).join("; ")}`);
  const expires = input.text("expires");
  if (expires !== undefined && !Number.isFinite(Date.parse(expires))) throw new UsageError(`--expires must be a time, not "${expires}"`);
  const [keyFile, certificateFile] = [input.text("secure-boot-key"), input.text("secure-boot-certificate")];
  if ((keyFile === undefined) !== (certificateFile === undefined)) throw new UsageError("--secure-boot-key and --secure-boot-certificate go together");
  const key = await openKey(resolve(shell.currentDirectory, input.text("key") ?? join(shell.homeDirectory, ".godwit", "image-key")));
  const release = input.count("release", 1, RELEASE_MAX);
  const { buildImage } = await import("#tools/image/build.ts");
  const out = resolve(shell.currentDirectory, input.text("out") ?? "godwit-image");
  const made = await buildImage({
    target, out, words, effort: input.flag("quick") ? "quick" : "small", signingSeed: key.seed,
    ...(release === undefined ? {} : { release }), ...(expires === undefined ? {} : { expiresAt: new Date(expires).toISOString() }),
    ...(keyFile === undefined || certificateFile === undefined ? {} : { secureBoot: { keyFile: resolve(shell.currentDirectory, keyFile), certificateFile: resolve(shell.currentDirectory, certificateFile) } }),
    log: (line) => shell.quiet !== true && shell.stderr.write(`${line}\n`),
  });
  const signer = hex(key.publicKey);
  print(shell, input.json, { ...made, signer }, () => pairsText([["folder", made.out], ["image", `${(made.bytes / MB).toFixed(1)} MB, sha256 ${made.sha256}`], ["pcr 11", made.pcr11], ["signed by", signer]]));
}

async function update(input: Input, shell: Shell): Promise<void> {
  const { updatePins } = await import("#tools/image/packages.ts");
  const changes = await updatePins();
  print(shell, input.json, { changes }, () => (changes.length === 0 ? "The pins are what this computer's package lists have" : changes.join("\n")));
}

async function write(input: Input, shell: Shell, imageFile: string, device: string): Promise<void> {
  const { writeImage } = await import("#tools/image/write.ts");
  let told = "";
  const sha256 = await writeImage(imageFile, device, {
    allowFixedDisk: input.flag("fixed-disk"),
    onProgress: (what, done, total) => {
      const line = `${what} ${Math.floor((done * 10) / total) * 10} %`;
      if (line !== told && shell.quiet !== true) shell.stderr.write(`${line}\n`);
      told = line;
    },
  });
  print(shell, input.json, { device, sha256 }, () => `${device} holds the image, read back and compared (sha256 ${sha256})`);
}
