/** How the environment makes threads: node:worker_threads, or Web Workers. */
import { NODE_WORKER_SOURCE, WEB_WORKER_SOURCE, type WorkerStart } from "./pool-worker.js";

export interface Thread {
  terminate(): void;
}

function nodeModule<Name extends "node:worker_threads" | "node:os">(name: Name) {
  const host = (globalThis as { process?: NodeJS.Process }).process;
  return host?.versions?.node === undefined ? undefined : host.getBuiltinModule?.(name);
}

/** How many threads can run at once. */
export function coreCount(): number {
  const count = nodeModule("node:os")?.availableParallelism() ?? globalThis.navigator?.hardwareConcurrency ?? 1;
  return Math.max(1, Math.floor(count) || 1);
}

/** Whether this thread may sleep in Atomics.wait; a page's main thread may not. */
export function mayWait(): boolean {
  try {
    return Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 1, 0) === "not-equal";
  } catch {
    return false;
  }
}

/** A thread of the pool, or undefined where none can be made. It never keeps the process alive. */
export function startThread(start: WorkerStart): Thread | undefined {
  const threads = nodeModule("node:worker_threads");
  if (threads !== undefined) {
    // No flags from the command line: they may name loaders and hooks the thread has no use for.
    const worker = new threads.Worker(NODE_WORKER_SOURCE, {
      eval: true,
      workerData: start,
      execArgv: [],
      name: "seqmix",
    });
    // Without a thread that could not start, the others do its work.
    worker.on("error", () => undefined);
    worker.unref();
    return { terminate: () => void worker.terminate() };
  }
  if (typeof Worker !== "function" || typeof Blob !== "function") return undefined;
  const url = URL.createObjectURL(new Blob([WEB_WORKER_SOURCE], { type: "text/javascript" }));
  const worker = new Worker(url, { name: "seqmix" });
  worker.postMessage(start);
  return { terminate: () => (worker.terminate(), URL.revokeObjectURL(url)) };
}
