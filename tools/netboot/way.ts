/**
 * Which way a client boots, by what its DHCP message says, and what it has to be answered so that it goes on. Pure.
 *
 * Firmware quirks, seen on EDK2 and iPXE: EDK2's PXE refuses an offer that says `PXEClient` without vendor options, so a full DHCP offer
 * does not say it and a proxy's offer brings them; EDK2's HTTP boot wants `HTTPClient` back; iPXE waits three seconds for a proxy unless told
 * that there is none.
 */
import { type Ipv4, ipv4Bytes } from "#os/boot/addresses.ts";
import { type DhcpMessage, OPTION, textBytes, textOption } from "#os/boot/dhcpMessage.ts";

export type Way = "bios-pxe" | "uefi-pxe" | "uefi-http" | "ipxe" | "godwit" | "other";
/** Names as the image's folder has them, and iPXE's own for BIOS. */
export const FILES = { uki: "godwit.efi", kernel: "vmlinuz", initramfs: "initramfs", biosLoader: "undionly.kpxe" } as const;
export type BootAnswer = { readonly next: Ipv4; readonly bootFile: string; readonly options: readonly (readonly [number, Uint8Array])[] };
export type BootPlace = { readonly address: Ipv4; /** `http://10.0.0.1` */ readonly url: string };

/** RFC 4578 and IANA's list: what answers to these is x86_64. */
const ARCHITECTURE = { bios: 0, uefiX64: 7, uefiX64Too: 9, uefiX64Http: 16 } as const;
/** PXE vendor option 6, bit 3: boot the file that is named here, look for no other server. */
const PXE_USE_FILE = Uint8Array.of(6, 1, 8, 255);
/** iPXE's option 176 inside 175: there is no proxy to wait for. */
const IPXE_NO_PROXY = Uint8Array.of(176, 1, 1);

export function wayOf(message: DhcpMessage): Way {
  const vendor = textOption(message, OPTION.vendorClass) ?? "";
  const architecture = message.options.get(OPTION.architecture);
  const kind = architecture !== undefined && architecture.length >= 2 ? ((architecture[0] ?? 0) << 8) | (architecture[1] ?? 0) : null;
  if (vendor === "godwit") return "godwit";
  if (message.options.has(OPTION.ipxe) || textOption(message, OPTION.userClass) === "iPXE") return "ipxe";
  if (vendor.startsWith("HTTPClient")) return kind === ARCHITECTURE.uefiX64Http ? "uefi-http" : "other";
  if (!vendor.startsWith("PXEClient")) return "other";
  if (kind === ARCHITECTURE.bios) return "bios-pxe";
  return kind === ARCHITECTURE.uefiX64 || kind === ARCHITECTURE.uefiX64Too ? "uefi-pxe" : "other";
}

/** What makes it go on; null: it boots nothing. */
export function bootAnswer(message: DhcpMessage, place: BootPlace, isProxy: boolean): BootAnswer | null {
  const way = wayOf(message);
  const machineId = message.options.get(OPTION.machineId);
  const common: (readonly [number, Uint8Array])[] = machineId === undefined ? [] : [[OPTION.machineId, machineId]];
  const named = (bootFile: string, ...options: (readonly [number, Uint8Array])[]): BootAnswer => ({
    next: place.address, bootFile, options: [[OPTION.bootServer, textBytes(place.address)], [OPTION.bootFile, textBytes(`${bootFile}\0`)], ...options, ...common],
  });
  const proxied: (readonly [number, Uint8Array])[] = isProxy ? [[OPTION.vendorClass, textBytes("PXEClient")], [OPTION.vendor, PXE_USE_FILE]] : [];
  switch (way) {
    case "bios-pxe": return named(FILES.biosLoader, ...proxied);
    case "uefi-pxe": return named(FILES.uki, ...proxied);
    case "uefi-http": return named(`${place.url}/${FILES.uki}`, [OPTION.vendorClass, textBytes("HTTPClient")]);
    case "ipxe": return named(`${place.url}/boot.ipxe?mac=${message.mac.replaceAll(":", "-")}`, ...(isProxy ? proxied : [[OPTION.ipxe, IPXE_NO_PROXY] as const]));
    // The image asks where its boot server is: an image that was loaded as one file has nobody's parameters.
    case "godwit": return { next: place.address, bootFile: "", options: [[OPTION.vendor, textBytes(place.url)]] };
    case "other": return null;
    default: return way satisfies never;
  }
}

export const serverOption = (address: Ipv4): readonly [number, Uint8Array] => [OPTION.server, ipv4Bytes(address)];
