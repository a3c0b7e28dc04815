/** One diagonal complex state for all channels: h_t = a h_(t-1) + B u_t, read out by Re(C h_t). S5 and LRU are this with different a, B and C. */
import { linearScan, type Complex } from "@seqmix/scan";
import {
  add,
  assertSettings,
  cast,
  expandDims,
  formatShape,
  matmul,
  mul,
  reshape,
  ShapeError,
  sliceAxis,
  sub,
  transpose,
  where,
  zeros,
  type Tensor,
} from "@seqmix/tensor";

/** A discrete system with N states, H inputs and M outputs. */
export interface MimoSystem {
  /** Transition [N]. */
  readonly a: Complex;
  /** Input map [N H]. */
  readonly B: Complex;
  /** Output map [M N]. */
  readonly C: Complex;
}

/** Settings of {@link runMimo}. */
export interface MimoOptions {
  /** State before the first position [B N]; zeros by default. */
  readonly h0?: Complex | undefined;
  /** 1 where the state before the position is forgotten, else 0 [B L]; f32. */
  readonly resets?: Tensor | undefined;
  /** From the last position to the first. */
  readonly reverse?: boolean;
}

/** x M^T for a real x [.. H] and a complex M [N H]. */
const project = (x: Tensor, { re, im }: Complex): Complex => ({
  re: matmul(x, transpose(re)),
  im: matmul(x, transpose(im)),
});

/** Re(h C^T): h [.. N], C [M N] -> [.. M]. */
const readOut = (h: Complex, { re, im }: Complex): Tensor =>
  sub(matmul(h.re, transpose(re)), matmul(h.im, transpose(im)));

/**
 * A whole sequence.
 * @param u [B L H]
 * @returns Re(C h) [B L M], and the state after the last position in the direction of the run [B N].
 * @throws ShapeError if `resets` is not [B L].
 */
export function runMimo({ a, B, C }: MimoSystem, u: Tensor, options: MimoOptions = {}): readonly [Tensor, Complex] {
  assertSettings("runMimo", options, { h0: "pair?", resets: "tensor?", reverse: "flag" });
  const { h0, resets, reverse = false } = options;
  const [batch, L] = u.shape as [number, number];
  const N = a.re.shape[0]!;
  if (resets && resets.shape.join() !== `${batch},${L}`)
    throw new ShapeError(
      `runMimo: expected resets [${batch} ${L}] as the input has [B L], got shape ${formatShape(resets.shape)}`,
    );
  if (L === 0) return [zeros([batch, 0, C.re.shape[0]!]), h0 ?? restState(batch, N)];
  const h = linearScan({ a, b: project(u, B), h0, axis: 1, reverse, resets: resets && expandDims(resets, 2) });
  const end = reverse ? 0 : L - 1;
  const last = (part: Tensor): Tensor => reshape(sliceAxis(part, 1, end, end + 1), [batch, N]);
  return [readOut(h, C), { re: last(h.re), im: last(h.im) }];
}

/**
 * One position of {@link runMimo}.
 * @param u [B H]
 * @param h [B N]
 * @param reset 1 where h is forgotten [B].
 * @returns Re(C h) [B M] and the next state.
 */
export function stepMimo({ a, B, C }: MimoSystem, u: Tensor, h: Complex, reset?: Tensor): readonly [Tensor, Complex] {
  const forgotten = reset && cast(expandDims(reset, 1), "bool");
  const before = forgotten ? { re: where(forgotten, 0, h.re), im: where(forgotten, 0, h.im) } : h;
  const drive = project(u, B);
  const next = {
    re: add(sub(mul(a.re, before.re), mul(a.im, before.im)), drive.re),
    im: add(add(mul(a.re, before.im), mul(a.im, before.re)), drive.im),
  };
  return [readOut(next, C), next];
}

/** The state before anything was seen [B N]. */
export const restState = (batch: number, N: number): Complex => ({ re: zeros([batch, N]), im: zeros([batch, N]) });
