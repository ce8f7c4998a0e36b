/**
 * The power button: events of ACPI over generic netlink (family `acpi_event`), which need no input device.
 *
 * Node cannot wait on a netlink socket, so it is looked at four times a second: nobody notices a quarter of a second after the button.
 */
import { closeSync } from "node:fs";
import { calls, checked, lastErrno, systemCallError } from "./calls.ts";
import { readAttributes } from "./netlink.ts";
import { AF_NETLINK, SOCK_RAW, openSocket, setReceiveTimeout, setSocketOption } from "./sockets.ts";

const GENERIC = 16;
const CONTROL_FAMILY = 16;
const GET_FAMILY = 3;
const FAMILY_NAME = 2;
const MULTICAST_GROUPS = 7;
const SOL_NETLINK = 270;
const ADD_MEMBERSHIP = 1;
const HEADERS_BYTES = 20;
const EVENT_ATTRIBUTE = 1;
const CLASS_BYTES = 20;
const LOOK_MS = 250;
const ANSWER_MS_MAX = 1_000;
const EAGAIN = 11;
const EVENTS_AT_ONCE_MAX = 64;

/** Calls `onPress` at each press until stopped. Throws where the kernel has no such events. */
export function watchPowerButton(onPress: () => void): { stop(): void } {
  const descriptor = openSocket(AF_NETLINK, SOCK_RAW, GENERIC, { blocking: true });
  try {
    setReceiveTimeout(descriptor, ANSWER_MS_MAX);
    const group = findGroup(descriptor);
    const value = new Uint8Array(4);
    new DataView(value.buffer).setUint32(0, group, true);
    setSocketOption(descriptor, SOL_NETLINK, ADD_MEMBERSHIP, value);
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
  const timer = setInterval(() => {
    for (const name of events(descriptor)) if (name.startsWith("button/power")) onPress();
  }, LOOK_MS);
  return {
    stop: () => {
      clearInterval(timer);
      closeSync(descriptor);
    },
  };
}

function findGroup(descriptor: number): number {
  const name = new TextEncoder().encode("acpi_event\0");
  const message = new Uint8Array(HEADERS_BYTES + 4 + 12);
  const view = new DataView(message.buffer);
  view.setUint32(0, message.length, true);
  view.setUint16(4, CONTROL_FAMILY, true);
  view.setUint16(6, 1, true);
  message.set([GET_FAMILY, 1], 16);
  view.setUint16(HEADERS_BYTES, 4 + name.length, true);
  view.setUint16(HEADERS_BYTES + 2, FAMILY_NAME, true);
  message.set(name, HEADERS_BYTES + 4);
  checked("ask for the family of ACPI events", calls().send(descriptor, message, BigInt(message.length), 0));
  const answer = new Uint8Array(8192);
  const length = checked("read the family of ACPI events", calls().recv(descriptor, answer, BigInt(answer.length), 0));
  const type = new DataView(answer.buffer).getUint16(4, true);
  if (type !== CONTROL_FAMILY) throw systemCallError("find the family of ACPI events", 2);
  const groups = readAttributes(answer.subarray(HEADERS_BYTES, length)).get(MULTICAST_GROUPS);
  const first = groups === undefined ? undefined : [...readAttributes(groups).values()][0];
  const id = first === undefined ? undefined : readAttributes(first).get(2);
  if (id === undefined || id.length < 4) throw systemCallError("find the group of ACPI events", 2);
  return new DataView(id.buffer, id.byteOffset).getUint32(0, true);
}

function events(descriptor: number): string[] {
  const MSG_DONTWAIT = 0x40;
  const names: string[] = [];
  const buffer = new Uint8Array(4096);
  while (names.length < EVENTS_AT_ONCE_MAX) {
    const length = Number(calls().recv(descriptor, buffer, BigInt(buffer.length), MSG_DONTWAIT));
    if (length < 0 && lastErrno() === EAGAIN) break;
    if (length < HEADERS_BYTES) break;
    const event = readAttributes(buffer.subarray(HEADERS_BYTES, length)).get(EVENT_ATTRIBUTE);
    if (event !== undefined) names.push(new TextDecoder().decode(event.subarray(0, CLASS_BYTES)).replace(/\0.*$/s, ""));
  }
  return names;
}
