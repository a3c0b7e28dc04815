/** Recurrences that have a program of their own: linear, real, nothing computed in or out. */
import type { Scalar } from "../../../../ir/loop.js";
import type { ScanKernel } from "../../../../ir/scan-kernel.js";
import { product } from "../../../../ir/simplify.js";
import type { ScanPlaces, ScanSpec } from "../program.js";

/** The tuned program that does the same: decay and drive are whole arrays, read in order, and the states are the one result. */
export function plainScan({
  extents,
  along,
  reverse,
  forgets,
  inputs,
  decay,
  drive,
  initial,
  adjoint,
  outputs,
}: ScanKernel): { readonly spec: ScanSpec; readonly places: ScanPlaces } | undefined {
  const [o, ...others] = outputs;
  if (
    o === undefined ||
    others.length > 0 ||
    adjoint !== undefined ||
    decay.length === 2 ||
    o.dtype !== "f32" ||
    o.step !== "each" ||
    o.keeps.length !== extents.length
  )
    return undefined;
  if (o.value.op !== "state" || o.value.which !== "current") return undefined;
  /** The input that the value is, in order, with or without the recurrence's axis. */
  const whole = (value: Scalar, withSteps: boolean): number | undefined => {
    if (value.op !== "load" || value.gather !== undefined || value.index.offset !== 0) return undefined;
    let stride = 1;
    for (let axis = extents.length - 1; axis >= 0; axis--) {
      const expected = axis === along && !withSteps ? 0 : stride;
      if (extents[axis] !== 1 && value.index.coefficients[axis] !== expected) return undefined;
      if (axis !== along || withSteps) stride *= extents[axis]!;
    }
    return value.input;
  };
  const moving = whole(decay[0], true),
    constant = moving === undefined ? whole(decay[0], false) : undefined;
  const a = moving ?? constant,
    b = whole(drive[0], true),
    first = initial && whole(initial[0], false);
  if (a === undefined || b === undefined || (initial !== undefined && first === undefined)) return undefined;
  return {
    spec: {
      outer: product(extents.slice(0, along)),
      length: extents[along]!,
      inner: product(extents.slice(along + 1)),
      reverse,
      constantDecay: constant !== undefined,
      initial: initial !== undefined,
      ...(forgets && { forgets }),
    },
    places: { a, b, initial: first, out: inputs.length },
  };
}
