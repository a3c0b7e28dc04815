/** Leaving out modes that oscillate too fast for their step, as in S4ND (Nguyen et al., S4ND: Modeling Images and Videos as Multidimensional Signals with State Spaces, 2022, section 4.3). */
import { assertNumber, cast, less, mul, type Tensor } from "@seqmix/tensor";

/** 1 where an angle, in radians a step, is below half of `bandlimit` turns, else 0. */
export function withinBand(angle: Tensor, bandlimit: number): Tensor {
  assertNumber("withinBand", "bandlimit", bandlimit, { from: 0 });
  // Squares spare the absolute value.
  const turns = mul(angle, 1 / (2 * Math.PI));
  return cast(less(mul(turns, turns), (bandlimit / 2) ** 2), "f32");
}
