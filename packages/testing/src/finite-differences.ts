/** Gradients against central finite differences of float64 values. */
import { add, assertSettings, grad, key, leavesOf, reference, tensor, type Device, type Tensor } from "@seqmix/tensor";
import { LawError } from "./compare.js";
import { evaluate, keyAt, randomValues, toTensor, type HostValues } from "./host-values.js";

/** What {@link checkDerivatives} compares. */
export interface DerivativeCheck {
  /** What must hold, e.g. "kernel selectiveScan, sample plain". */
  readonly law: string;
  /** A number as a function of the inputs. */
  loss(inputs: readonly Tensor[]): Tensor;
  /** Where the gradient is taken; those that are not f32 are constants. */
  readonly inputs: readonly HostValues[];
  /** Names of the inputs in messages. */
  readonly names: readonly string[];
  /** Half the distance between the two points, in the unit of the inputs; 1e-5 by default. */
  readonly step?: number;
  /** Share of the sum of |gradient| that may be off; 1e-6 by default. */
  readonly relative?: number;
  /** The float64 device. */
  readonly device?: Device;
}

const DIRECTIONS = 3;

/**
 * Compares the gradient with (loss(x + h d) - loss(x - h d)) / 2h for each f32 input along random directions d of +-1: a
 * wrong element shows in every direction but for chance. If one disagrees, the elements are searched for the worst.
 * @throws LawError naming the input, the element and both values.
 */
export async function checkDerivatives(given: DerivativeCheck): Promise<void> {
  assertSettings("checkDerivatives", given, {
    law: "own",
    loss: "function",
    inputs: "list?",
    names: "list?",
    step: { above: 0 },
    relative: { from: 0 },
    device: "own",
  });
  const { law, loss, inputs, names, step = 1e-5, relative = 1e-6, device = reference() } = given;
  const active = inputs.flatMap(({ dtype, data }, k) => (dtype === "f32" && data.length > 0 ? [k] : []));
  if (active.length === 0) return;
  const all = inputs.map(toTensor);
  const gradients = await evaluate(device, () => {
    const from = grad((wanted: readonly Tensor[]) =>
      loss(all.map((x, k) => (active.includes(k) ? wanted[active.indexOf(k)]! : x))),
    )(active.map((k) => all[k]!));
    // A gradient may be the same node twice, or an input itself; each needs memory of its own.
    return leavesOf(from).map((g) => add(g, 0));
  });
  const value = (k: number, moved: Float64Array): Tensor =>
    loss(inputs.map((x, j) => (j === k ? tensor(moved, x.shape) : toTensor(x))));
  const along = async (k: number, directions: readonly Float64Array[]): Promise<{ slope: number; scale: number }[]> => {
    const origin = inputs[k]!.data;
    const points = directions.flatMap((d) =>
      [1, -1].map((sign) => Float64Array.from(origin, (x, i) => x + sign * step * d[i]!)),
    );
    const values = (await evaluate(device, () => points.map((point) => add(value(k, point), 0)))).map(
      ({ data }) => data[0]!,
    );
    return directions.map((_, r) => ({
      slope: (values[2 * r]! - values[2 * r + 1]!) / (2 * step),
      scale: Math.abs(values[2 * r]!),
    }));
  };
  for (const [position, k] of active.entries()) {
    const g = Float64Array.from(gradients[position]!.data);
    const size = g.length;
    const allowed = (scale: number, total: number): number => relative * total + (1e-13 * Math.max(1, scale)) / step;
    const total = g.reduce((sum, x) => sum + Math.abs(x), 0);
    const directions = Array.from({ length: DIRECTIONS }, (_, r) =>
      Float64Array.from(randomValues(keyAt(key(1), law, k, r), [size], "bool").data, (bit) => (bit ? 1 : -1)),
    );
    for (const [r, { slope, scale }] of (await along(k, directions)).entries()) {
      const expected = g.reduce((sum, x, i) => sum + x * directions[r]![i]!, 0);
      if (Math.abs(slope - expected) <= allowed(scale, total)) continue;
      const elements = Array.from({ length: Math.min(size, 256) }, (_, i) =>
        Float64Array.from({ length: size }, (__, j) => Number(i === j)),
      );
      const slopes = await along(k, elements);
      const worst = slopes
        .map((each, i) => Math.abs(each.slope - g[i]!))
        .reduce((best, error, i, errors) => (error > errors[best]! || Number.isNaN(error) ? i : best), 0);
      throw new LawError(
        `${law}: gradient = finite differences`,
        `for ${names[k]} [${inputs[k]!.shape.join(",")}] along a random direction expected ${slope}, got ${expected}, allowed difference ${allowed(scale, total).toPrecision(3)}; worst at element ${worst}: expected ${slopes[worst]!.slope}, got ${g[worst]}`,
      );
    }
  }
}
