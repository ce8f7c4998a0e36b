/** Loaded before a machine (`node --import`): its wall clock is off by `GODWIT_CLOCK_OFFSET_MS` from then on; the monotonic one is not. */
const offsetMs = Number(process.env["GODWIT_CLOCK_OFFSET_MS"] ?? "0");
const nowMs = Date.now;
if (Number.isSafeInteger(offsetMs)) Date.now = () => nowMs() + offsetMs;
