/** What the parts share that write expressions: the loops around them, the statements so far, and what varies along which axes. */
import type { Affine, LoopKernel, Range, Scalar } from "../../../ir/loop.js";
import type { Code } from "../wasm/emitter.js";
import type { Scratch, Vectors } from "../wasm/scratch.js";
import type { Frame, Scope } from "./scope.js";
import type { Variation } from "./variation.js";

/** What the loops around the expressions provide. */
export interface Surroundings {
  readonly kernel: LoopKernel;
  readonly s: Scratch;
  /** The axis that lanes run along; -1 for none. */
  readonly vectorAxis: number;
  /** Axes of loops between the place where the vector axis is cut into segments and the expressions. */
  readonly innerAxes: ReadonlySet<number>;
  /** Address of element `index` of an input, and `index` itself, where the vector axis counts as 0. */
  readonly pointer: (input: number, index: Affine) => Code;
  readonly value: (index: Affine) => Code;
  readonly inputBase: (input: number) => Code;
  /** Address and distance (not negative) of a frame's first element, where its index has no gather and step 0 or 1 along the vector axis. */
  readonly near?: (input: number, index: Affine) => { readonly address: Code; readonly distance: number };
  /** Whether the condition holds in the whole current segment of the vector axis. */
  readonly segmentFlag: (condition: Range) => Code;
  readonly reduced: (reduction: number) => Vectors;
  /** Vectors of nodes that the surroundings compute themselves: states, if there are any. */
  readonly given?: (node: Scalar, evaluate: (part: Scalar) => Vectors) => Vectors | undefined;
}

/** Expressions in the making. */
export interface Writing {
  readonly around: Surroundings;
  readonly s: Scratch;
  readonly variation: Variation;
  /** Code of the vectors of a node: as many as the frame unrolls, or 1 if it does not vary along the vector axis. */
  readonly evaluate: (node: Scalar, frame: Frame, scope: Scope) => Vectors;
}

/** A place in the code, and how many vectors are computed there. */
export interface Place {
  readonly frame: Frame;
  readonly scope: Scope;
  readonly count: number;
}

/** The code's value in a local. */
export function keep(s: Scratch, code: Code, type: "v128" | "i32" = "v128"): Code {
  const local = s.local(type);
  s.body.push(local.set(code));
  return local.get;
}

/** The statements that `write` appends. */
export function apart(s: Scratch, write: () => void): Code[] {
  const before = s.body;
  const inside: Code[] = (s.body = []);
  write();
  s.body = before;
  return inside;
}

export const range = (n: number): number[] => Array.from({ length: n }, (_, k) => k);
