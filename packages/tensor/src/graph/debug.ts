/**
 * Debug mode: operations remember the line of user code that made them, and {@link realize}
 * runs node by node and stops at the first NaN or infinity. Slow; off by default.
 */
let enabled = false;

/** Switches debug mode for the whole process and returns what it was. */
export function setDebug(on: boolean): boolean {
  if (typeof on !== "boolean") throw new TypeError(`setDebug: expected true or false, got ${String(on)}`);
  const before = enabled;
  enabled = on;
  return before;
}

export const isDebug = (): boolean => enabled;

/** First stack frame outside this package, e.g. "model.ts:12:7"; undefined unless debug mode is on. */
export function userLine(): string | undefined {
  if (!enabled) return undefined;
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 50;
  const frames = (new Error().stack ?? "").split("\n").slice(1);
  Error.stackTraceLimit = limit;
  // This file lies one room below the package's sources.
  const here = new URL("..", import.meta.url).href.replace(/^file:\/\//, "");
  const frame = frames.find((line) => !line.includes(here) || /\.test\.ts/.test(line));
  return frame?.trim().replace(/^at /, "");
}
