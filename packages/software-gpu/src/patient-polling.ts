/**
 * Dawn in Node asks for finished work in every turn of the event loop, by setImmediate: waiting takes a whole core, which the
 * software adapter needs for compiling and for computing.
 */
let isPatient = false;

/** Lets Dawn ask once a millisecond: what is native and given to setImmediate comes from it. */
export function pollPatiently(): void {
  if (isPatient) return;
  isPatient = true;
  const inThisTurn = globalThis.setImmediate;
  const later = (callback: (...given: unknown[]) => void, ...given: unknown[]): unknown => {
    const isNative = given.length === 0 && Function.prototype.toString.call(callback).includes("[native code]");
    return isNative ? setTimeout(callback, 1) : inThisTurn(callback, ...given);
  };
  globalThis.setImmediate = Object.assign(later, inThisTurn) as typeof setImmediate;
}
