/**
 * Code that a page loads when a graph first needs it: programs of recurrences, of products, of records. What makes plans
 * and programs is not asynchronous; where it needs a module that is not there it is left, and begun again once it is.
 */

/** Thrown where a module is not there yet. */
class NotLoaded extends Error {
  constructor(readonly load: () => Promise<void>) {
    super("expected a module to be loaded, and it is not: what needs it runs in whenLoaded()");
  }
}

/**
 * A module that is loaded when it is first asked for.
 * @param load An import: `onDemand(() => import("./program.js"))`.
 * @returns The module; called where it is not there yet, the device that makes the program loads it and begins again.
 */
export function onDemand<M>(load: () => Promise<M>): () => M {
  let found: { readonly module: M } | undefined;
  return () => {
    if (!found)
      throw new NotLoaded(async () => {
        found = { module: await load() };
      });
    return found.module;
  };
}

/** What `make` returns, at once or after the modules it needs are loaded. It is called again for each: it must change nothing that lasts. */
export function whenLoaded<T>(make: () => T): T | Promise<T> {
  try {
    return make();
  } catch (missing) {
    if (!(missing instanceof NotLoaded)) throw missing;
    return missing.load().then(() => whenLoaded(make));
  }
}
