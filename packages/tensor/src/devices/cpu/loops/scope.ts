/** Where vectors of values are computed, and which are known there. */
import type { Scalar } from "../../../ir/loop.js";
import type { Code, Local } from "../wasm/emitter.js";
import type { Vectors } from "../wasm/scratch.js";

/** Where along the vector axis values are computed. */
export interface Frame {
  /** Vectors side by side: points i to i + 4 * unroll - 1. */
  readonly unroll: number;
  /** i, and 4 i, which is its distance in bytes. */
  readonly i: Local;
  readonly bytes: Local;
  /** Set if lanes may lie at `end` or beyond. */
  readonly end?: Local;
}

/** Values known at a place of the code, and at the places that enclose it. */
export interface Scope {
  readonly values: Map<Scalar, Vectors>;
  /** Byte offsets of loads whose gathers do not vary along the vector axis. */
  readonly offsets: Map<Scalar, Code>;
  /** What was computed before the loop for the inside of a guard. */
  readonly guarded: Map<Scalar, Scope>;
  readonly parent: Scope | undefined;
  /** The scope before the loop that mirrors this one. */
  readonly before: Scope | undefined;
  /** Some lanes may be excluded by a guard: addresses must be kept inside the buffers. */
  readonly masked: boolean;
}

export const scope = (parent?: Scope, before?: Scope, masked = parent?.masked ?? false): Scope => ({
  values: new Map(),
  offsets: new Map(),
  guarded: new Map(),
  parent,
  before,
  masked,
});

/** What a scope knows, or one that encloses it, or the scope before its loop. */
export function lookup<T>(pick: (scope: Scope) => T | undefined, from: Scope | undefined): T | undefined {
  for (let at = from; at !== undefined; at = at.parent) {
    const found = pick(at) ?? lookup(pick, at.before);
    if (found !== undefined) return found;
  }
  return undefined;
}
