/** Scopes: tensors made while a function runs are freed when it is over, but for those that it returns. */
import type { Tensor } from "./tensor.js";

/** What a scope has made so far. Weak, so that a long scope keeps nothing alive. */
export type Made = WeakRef<Tensor>[];

/** A value that belongs to a function and to all that runs on its behalf, whatever else runs between its awaits. */
interface Context {
  getStore(): Made | undefined;
  run<T>(value: Made | undefined, f: () => T): T;
}

/** Made by the first scope, so that programs without scopes pay nothing. */
let context: Context | undefined;
const kept = new WeakSet<Tensor>();

/** The engine's own, or else one that lasts until the function's first await. */
function makeContext(): Context {
  const host = (globalThis as { process?: Partial<NodeJS.Process> }).process;
  const hooks = host?.getBuiltinModule?.("node:async_hooks");
  if (hooks) return new hooks.AsyncLocalStorage<Made | undefined>();
  let current: Made | undefined;
  return {
    getStore: () => current,
    run: (value, f) => {
      const before = current;
      current = value;
      try {
        return f();
      } finally {
        current = before;
      }
    },
  };
}

/** The list of the scope that runs here, if one does. */
export const listHere = (): Made | undefined => context?.getStore();

/** Notes that a tensor was made: for the scope that runs here, or the one that ran before something was awaited. */
export function noteMade(x: Tensor, made = listHere()): void {
  made?.push(new WeakRef(x));
}

/** Runs `f` with a list of its own, which the tensors made in it are added to. */
export function collecting<T>(made: Made, f: () => T): T {
  context ??= makeContext();
  return context.run(made, f);
}

/** The tensors of a list that are still there and that nobody keeps. */
export const toFree = (made: Made): Tensor[] =>
  made.flatMap((weak) => {
    const x = weak.deref();
    return x && !kept.has(x) ? [x] : [];
  });

/** Notes that no scope may free a tensor. */
export const noteKept = (x: Tensor): void => void kept.add(x);

/**
 * Runs `f` as if no `scope` were around it: for caches, whose tensors must outlive the scope that happens to fill them.
 * @returns What `f` returns.
 */
export const outsideScopes = <T>(f: () => T): T => (context ? context.run(undefined, f) : f());
