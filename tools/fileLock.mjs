/**
 * A lock between processes of Linux as a file that names its holder. For the set-up, which runs in any Node ≥ 18, so plain JavaScript.
 *
 * A holder that is gone leaves its file behind; who finds one takes it away by renaming, which only one process can do. A process
 * is its id together with the time it started, since ids are used again.
 */
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";

const POLL_MS = 200;

/** Waits for the lock, does the work, and lets it go. `waiting` is called once with the holder's process id when there is a wait. */
export async function withFileLock(path, work, { waiting = () => {} } = {}) {
  const mine = `${process.pid} ${startOf(process.pid) ?? ""}`;
  const own = `${path}.${process.pid}`;
  let told = false;
  while (!take(path, own, mine)) {
    const holder = read(path);
    const pid = Number(holder.split(" ")[0]);
    if (holder !== "" && holder !== `${pid} ${startOf(pid) ?? ""}`) clear(path, own, holder);
    else {
      if (!told && holder !== "") waiting(pid);
      told = true;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }
  try {
    return await work();
  } finally {
    if (read(path) === mine) rmSync(path, { force: true });
  }
}

/** The file appears with its content, or not at all. */
function take(path, own, content) {
  writeFileSync(own, content);
  try {
    linkSync(own, path);
    return true;
  } catch (error) {
    if (error.code !== "EEXIST") throw error;
    return false;
  } finally {
    rmSync(own, { force: true });
  }
}

/** What is taken away may by now be the lock of a process that is alive: that one is put back. */
function clear(path, own, holder) {
  try {
    renameSync(path, `${own}.old`);
    if (read(`${own}.old`) !== holder) linkSync(`${own}.old`, path);
  } catch (error) {
    if (error.code !== "ENOENT" && error.code !== "EEXIST") throw error;
  }
  rmSync(`${own}.old`, { force: true });
}

function read(path) {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (error.code !== "ENOENT") throw error;
    return "";
  }
}

/** Field 22 of /proc/PID/stat, or null when there is no such process. The name before it may hold anything. */
export function startOf(pid) {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    return text.slice(text.lastIndexOf(")") + 2).split(" ")[19];
  } catch {
    return null;
  }
}
