import assert from "node:assert";
import { test } from "node:test";
import { OTHERS_SHARE_MAX, others, shareUsed, worstOf } from "./report.ts";

/** A line of /proc/stat, in ticks: user, idle, waiting for disks, stolen by the hypervisor, and a guest's, which user has too. */
const stat = ({ user = 0, idle = 0, waiting = 0, stolen = 0, guest = 0 }: Partial<Record<"user" | "idle" | "waiting" | "stolen" | "guest", number>>): string =>
  `cpu  ${user} 0 0 ${idle} ${waiting} 0 0 ${stolen} ${guest} 0\ncpu0 9 9 9 9 9 9 9 9 9 9\n`;

test("what others use is the CPU time that was not idle between two readings: waiting for a disk is idle, what a hypervisor took is not", () => {
  const before = stat({ user: 1_000, idle: 5_000, waiting: 70, stolen: 3, guest: 900 });
  assert.equal(shareUsed(before, stat({ user: 1_100, idle: 5_300, waiting: 70, stolen: 3, guest: 1_000 })), 0.25);
  assert.equal(shareUsed(before, stat({ user: 1_000, idle: 5_200, waiting: 270, stolen: 3, guest: 900 })), 0);
  assert.equal(shareUsed(before, stat({ user: 1_000, idle: 5_000, waiting: 70, stolen: 103, guest: 900 })), 1);
});

/** A computer on which others are busy for the first `busyMs`. */
function computer(busyMs: number): { watched: Parameters<typeof others>[0]; nowMs: () => number } {
  let nowMs = 0;
  return {
    watched: {
      wait: async (ms) => void (nowMs += ms),
      read: () => stat({ user: Math.min(nowMs, busyMs), idle: nowMs - Math.min(nowMs, busyMs) }),
    },
    nowMs: () => nowMs,
  };
}

test("a benchmark waits until what ran before it is over, a minute at most, and says what others used as it began", async () => {
  const after = computer(10_000);
  assert.partialDeepStrictEqual(await others(after.watched), { othersShare: 0, isQuiet: true });
  assert.equal(after.nowMs(), 12_000);

  const beside = computer(Number.POSITIVE_INFINITY);
  assert.partialDeepStrictEqual(await others(beside.watched), { othersShare: 1, isQuiet: false });
  assert.equal(beside.nowMs(), 60_000);
});

test("a run of several parts is quiet when each of them is known to have been", () => {
  const quiet = { othersShare: OTHERS_SHARE_MAX, load1: 2, isQuiet: true };
  assert.deepEqual(worstOf([quiet, { ...quiet, load1: 3 }]), { ...quiet, load1: 3 });
  assert.partialDeepStrictEqual(worstOf([quiet, { othersShare: 0.5, load1: 0.1, isQuiet: false }]), { othersShare: 0.5, isQuiet: false });
  assert.equal(worstOf([quiet, {}]).isQuiet, false);
});
