/** The way of `npm run test:boot` that is `godwit devnet up --vm`: two guests of the image on one chain; one loses its power, and the other has its lease; it comes back as the same machine. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { addressText } from "#chain/codec/address.ts";
import { ask, deployTo, readyOn, upCount } from "#tools/bench/heal.ts";
import { Devnet } from "#tools/devnet/devnet.ts";
import { eventually } from "#tests/e2e/stage.ts";

/** A computer that is busy and slow takes ten times as long as one that is not. */
const WAIT_MS_MAX = 900_000;

export async function devnetOfGuests(work: string, image: string): Promise<Readonly<Record<string, unknown>>> {
  const begunMs = performance.now();
  const since = (): number => Math.round(performance.now() - begunMs);
  await using devnet = await Devnet.open({ directory: join(work, "devnet"), count: 2, image });
  const acceptsMs = since();
  const places = devnet.places.map(({ api, http: httpPort }) => ({ api: `http://127.0.0.1:${api}`, httpPort }));
  const wait = <T>(what: string, look: () => Promise<T | null | false>): Promise<T> => eventually(what, () => look().catch(() => null), WAIT_MS_MAX);
  await wait("two are up", async () => (await upCount(places[0]!.api)) === 2);
  const upMs = since();
  const deployed = await deployTo(devnet.site, places);
  const [place] = await wait("it is ready", () => readyOn(devnet.site, places[0]!.api, deployed)) as [number];
  for (const { httpPort } of places) await wait("it answers at either", async () => (await ask(httpPort, deployed.host, 10_000)) === 200);
  const [name, other] = [devnet.names[place]!, 1 - place];
  const cutMs = since();
  await devnet.kill([name]);
  await wait("the other has its lease", async () => (await readyOn(devnet.site, places[other]!.api, deployed))?.[0] === other);
  await wait("it answers there", async () => (await ask(places[other]!.httpPort, deployed.host, 10_000)) === 200);
  const takenMs = since() - cutMs;
  await devnet.start([name]);
  await wait("it is up again, as the same machine", async () => (await upCount(places[other]!.api)) === 2);
  const { machines } = (await (await fetch(`${places[other]!.api}/v1/machines`)).json()) as { machines: readonly { id: string }[] };
  assert.deepEqual(machines.map(({ id }) => id).toSorted(), devnet.site.machines.map(addressText).toSorted());
  return { acceptsMs, upMs, takenMs };
}
