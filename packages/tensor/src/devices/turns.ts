/**
 * The event loop beside computing. Devices that compute at once would never let it turn in `while (...) await realize(...)`:
 * timers, Ctrl-C, animation frames and finalizers would wait for the end.
 */
import type { Device } from "./device.js";

/** Milliseconds of computing after which the event loop turns: an eighth of what is felt as waiting. */
const MOST = 8;

let turned = performance.now();

/** Lets the event loop turn, if that is due. */
export async function letTurn(): Promise<void> {
  if (performance.now() - turned > MOST) await turn();
}

/** Results of computing, once the event loop has had its turn. */
export async function turning<T>(results: T): Promise<T> {
  await letTurn();
  return results;
}

/** Resolves in another turn of the event loop. */
export async function turn(): Promise<void> {
  const { setImmediate, MessageChannel } = globalThis as {
    setImmediate?: (f: () => void) => unknown;
    MessageChannel?: typeof globalThis.MessageChannel;
  };
  await new Promise<void>((resolve) => {
    if (setImmediate) setImmediate(resolve);
    else if (MessageChannel) {
      // A timer would wait for 4 ms.
      const { port1, port2 } = new MessageChannel();
      port1.addEventListener("message", () => {
        port1.close();
        resolve();
      });
      port1.start();
      port2.postMessage(undefined);
    } else setTimeout(resolve, 0);
  });
  turned = performance.now();
}

/** Pages of memory that make an engine look for garbage (64 MiB), milliseconds it is given, and how often it is asked. */
const PAGES = 1024,
  PATIENCE = 2,
  TRIES = 20;

/**
 * Has the engine collect tensors that the program forgot: it sees small objects, not the memory behind them.
 * @returns Whether memory of the device came back.
 */
export async function reclaim(device: Device): Promise<boolean> {
  const before = device.memory().collected;
  for (let k = 0; k < TRIES; k++) {
    try {
      // Never touched, so it costs nothing but the engine's attention.
      void new WebAssembly.Memory({ initial: PAGES, maximum: PAGES });
    } catch {
      return false;
    }
    await new Promise((resolve) => setTimeout(resolve, PATIENCE));
    if (device.memory().collected > before) return true;
  }
  return false;
}
