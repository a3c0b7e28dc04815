/** A recurrence whose states wander from the smallest f32 numbers to the largest and back, so that products of its decays do not fit. */
import {
  add,
  complexLinearScan,
  exp,
  grad,
  linearScan,
  mul,
  realize,
  reshape,
  sum,
  tensor,
  type Device,
  type Tensor,
} from "@seqmix/tensor";
import { LawError } from "./compare.js";

/** What {@link checkWanderingRecurrence} runs. */
export interface Wandering {
  /** Steps L. */
  readonly length: number;
  /** Columns D, each with its own decays, or with powers of its own of shared ones. */
  readonly columns: number;
  /** The largest change of the logarithm to base 2 of a state's size in a step. */
  readonly jump: number;
  /** Real decays, complex ones, or real ones computed in place as e^(x_t y_d). */
  readonly decays: "real" | "complex" | "powers";
  /** From the last step to the first. */
  readonly reverse?: boolean;
}

/** States stay between 2^-REACH and 2^REACH; products of decays are up to 2^(2 REACH). */
const REACH = 90;

/**
 * The recurrence h_t = a_t h_(t-1) + b_t of such decays, and the gradients of sum_t w_t h_t, fused and not, against the loop
 * in float64: each state within 2e-4 of its own size, each gradient likewise.
 * @throws LawError where one is not.
 */
export async function checkWanderingRecurrence(device: Device, of: Wandering): Promise<void> {
  const given = draw(of);
  const expected = loop(of, given);
  for (const fuse of [true, false]) {
    const inputs = [given.a, given.ai, given.b, given.bi, given.h0].map((x) => tensor(x, shapeOf(of, x)));
    const where = `${device.name}, fuse ${fuse}, ${JSON.stringify(of)}`;
    const h = states(of, inputs)[0]!;
    await realize(h, { device, fuse });
    close(await h.data(), expected.h, expected.size, `states, ${where}`);
    const weights = [given.w, given.wi].map((x) => tensor(x, [of.length, of.columns]));
    const [da, , db, , dh0] = grad((x: readonly Tensor[]) =>
      states(of, x)
        .map((part, k) => sum(mul(part, weights[k]!)))
        .reduce((a, b) => add(a, b)),
    )(inputs);
    await realize([da!, db!, dh0!], { device, fuse });
    close(await da!.data(), expected.da, expected.daSize, `gradient of the decays, ${where}`);
    close(await db!.data(), expected.g, expected.gSize, `gradient of the drive, ${where}`);
    close(await dh0!.data(), expected.dh0, expected.dh0Size, `gradient of the initial state, ${where}`);
  }
}

type Given = Readonly<Record<"a" | "ai" | "b" | "bi" | "w" | "wi" | "h0", Float32Array>> & {
  /** Logarithms of the states' sizes, [L + 1, D]. */
  readonly logarithms: Float64Array;
};

/** y of column d where decays are e^(x_t y_d). */
const powerOf = (column: number): number => (column % 2 === 0 ? 1 : 0.75);

const shapeOf = ({ length, columns, decays }: Wandering, x: Float32Array): readonly number[] =>
  x.length === columns ? [columns] : decays === "powers" && x.length === length ? [length, 1] : [length, columns];

/** Real part, and imaginary one. */
function states({ columns, decays, reverse = false }: Wandering, x: readonly Tensor[]): readonly Tensor[] {
  const [a, ai, b, bi, h0] = x as [Tensor, Tensor, Tensor, Tensor, Tensor];
  if (decays === "complex") {
    const { re, im } = complexLinearScan({
      a: { re: a, im: ai },
      b: { re: b, im: bi },
      h0: { re: h0, im: mul(h0, 0) },
      axis: 0,
      reverse,
    });
    return [re, im];
  }
  if (decays === "real") return [linearScan({ a, b, h0, axis: 0, reverse })];
  const y = reshape(tensor(Float32Array.from({ length: columns }, (_, k) => powerOf(k))), [1, columns]);
  return [linearScan({ a: exp(mul(a, y)), b, h0, axis: 0, reverse })];
}

function draw({ length: L, columns: D, jump, decays, reverse = false }: Wandering): Given {
  let seed = 7;
  const random = (): number => (seed = (seed * 1103515245 + 12345) % 2147483648) / 2147483648;
  const shared = decays === "powers";
  const array = (size = L * D): Float32Array => new Float32Array(size);
  const given = {
    a: array(shared ? L : L * D),
    ai: array(),
    b: array(),
    bi: array(),
    w: array(),
    wi: array(),
    h0: array(D),
    logarithms: new Float64Array((L + 1) * D),
  };
  for (let d = 0; d < D; d++) {
    const scale = shared ? powerOf(d) : 1;
    let [now, way] = [-REACH, 1];
    given.logarithms[d] = now * scale;
    given.h0[d] = 2 ** (now * scale);
    for (let t = 0; t < L; t++) {
      const row = reverse ? L - 1 - t : t;
      const at = row * D + d;
      const drawn = Math.round(random() * jump * 2) / 2;
      let change = drawn * way;
      if (Math.abs(now + change) > REACH) [way, change] = [-way, 0];
      if (shared && d > 0) change = Math.log2(Math.exp(given.a[row]!));
      now += change;
      const size = 2 ** (now * scale);
      given.logarithms[(t + 1) * D + d] = now * scale;
      const angle = decays === "complex" ? 6 * random() : random() < 0.5 ? 0 : Math.PI;
      if (shared) given.a[row] = change * Math.LN2;
      else given.a[at] = Math.round(Math.cos(angle) * 1e6) * 1e-6 * 2 ** change;
      const imaginary = decays === "complex" ? 1 : 0;
      given.ai[at] = imaginary * Math.sin(angle) * 2 ** change;
      given.b[at] = (random() - 0.5) * 0.1 * size;
      given.bi[at] = imaginary * (random() - 0.5) * 0.1 * size;
      given.w[at] = (random() - 0.5) / size;
      given.wi[at] = (imaginary * (random() - 0.5)) / size;
    }
  }
  return given;
}

/** One step after the other, and back; with sizes that errors are measured by. */
function loop(of: Wandering, { a, ai, b, bi, w, wi, h0, logarithms }: Given) {
  const { length: L, columns: D, decays, reverse = false } = of;
  const array = (size = L * D): Float64Array => new Float64Array(size);
  const [h, hi, size, g, gSize] = [array(), array(), array(), array(), array()];
  const [da, daSize] = [array(a.length), array(a.length)];
  const [dh0, dh0Size] = [array(D), array(D).fill(20 * 2 ** REACH)];
  const row = (t: number): number => (reverse ? L - 1 - t : t);
  for (let d = 0; d < D; d++) {
    const y = powerOf(d);
    const decay = (t: number): readonly [number, number] =>
      decays === "powers" ? [Math.exp(a[row(t)]! * y), 0] : [a[row(t) * D + d]!, ai[row(t) * D + d]!];
    let [x, xi] = [h0[d]!, 0];
    for (let t = 0; t < L; t++) {
      const at = row(t) * D + d;
      const [re, im] = decay(t);
      [x, xi] = [re * x - im * xi + b[at]!, re * xi + im * x + bi[at]!];
      [h[at], hi[at], size[at]] = [x, xi, 3 * 2 ** logarithms[(t + 1) * D + d]!];
    }
    let [u, v] = [0, 0];
    for (let t = L - 1; t >= 0; t--) {
      const at = row(t) * D + d;
      [u, v] = [u + w[at]!, v + wi[at]!];
      [g[at], gSize[at]] = [u, 20 * 2 ** -logarithms[(t + 1) * D + d]!];
      const before = row(t - 1) * D + d;
      const [p, pi] = t === 0 ? [h0[d]!, 0] : [h[before]!, hi[before]!];
      const [re, im] = decay(t);
      const [to, factor] = decays === "powers" ? [row(t), re * y] : [at, 1];
      da[to]! += (u * p + v * pi) * factor;
      daSize[to]! += gSize[at]! * 3 * 2 ** logarithms[t * D + d]! * Math.abs(factor);
      [u, v] = [re * u + im * v, re * v - im * u];
    }
    dh0[d] = u;
  }
  return { h, size, g, gSize, da, daSize, dh0, dh0Size };
}

function close(actual: ArrayLike<number>, expected: Float64Array, size: Float64Array, what: string): void {
  expected.forEach((value, at) => {
    if (!(Math.abs(actual[at]! - value) <= 2e-4 * size[at]!))
      throw new LawError(what, `expected ${value} at ${at}, got ${actual[at]}`);
  });
}
