/** The delta rule: a memory in which a key replaces what it has written (Yang et al., Parallelizing Linear Transformers with the Delta Rule over Sequence Length, 2024). */
import {
  add,
  broadcastTo,
  cast,
  concat,
  exp,
  expandDims,
  formatShape,
  greater,
  mul,
  reshape,
  ShapeError,
  sliceAxis,
  stack,
  sub,
  sum,
  where,
  zeros,
  type Tensor,
} from "@seqmix/tensor";
import { deltaRuleChunks } from "./chunks.js";

/** What {@link deltaRule} takes. */
export interface DeltaRuleArguments {
  /** Queries [B L H K]. */
  readonly q: Tensor;
  /** Keys [B L H K]; of length 1 for a memory that does not grow. */
  readonly k: Tensor;
  /** Values [B L H V]. */
  readonly v: Tensor;
  /** How much of what a key has written is replaced, 0 to 1 [B L H]. */
  readonly beta: Tensor;
  /** Logarithm of the decay before each position [B L H], at most 0 (Gated DeltaNet); none: nothing decays. */
  readonly logDecay?: Tensor | undefined;
  /** State before the first position [B H K V]; zeros by default. */
  readonly h0?: Tensor | undefined;
  /** 1 at the first position of each of several sequences packed into one, else 0 [B L]. */
  readonly resets?: Tensor | undefined;
}

/** How {@link deltaRule} computes. */
export interface DeltaRuleOptions {
  /** "chunked" (the default): products of matrices in chunks, a scan between them. "recurrent": one position after another. */
  readonly algorithm?: "chunked" | "recurrent";
  /** Q, positions in a chunk; 64 by default. */
  readonly chunkSize?: number;
}

/** What {@link deltaRule} returns. */
export interface DeltaRuleResult {
  /** Outputs [B L H V]. */
  readonly y: Tensor;
  /** State after the last position [B H K V]. */
  readonly hT: Tensor;
}

/** A log decay that forgets everything: its exponential is 0, in double precision too. */
const FORGET = -1e4;

/**
 * S_t = (1 - beta_t k_t k_t^T) a_t S_(t-1) + beta_t k_t v_t^T, y_t = q_t^T S_t, a_t = exp(logDecay_t): what the memory says
 * at k_t is moved to v_t by the share beta_t. With decays: Yang, Kautz, Hatamizadeh, Gated Delta Networks, 2024.
 * @throws ShapeError if shapes do not fit; RangeError for a chunkSize below 1.
 */
export function deltaRule(
  given: DeltaRuleArguments,
  { algorithm = "chunked", chunkSize = 64 }: DeltaRuleOptions = {},
): DeltaRuleResult {
  const [B, L, H, K] = given.q.shape as [number, number, number, number];
  const V = given.v.shape.at(-1)!;
  expect("q and k [B L H K]", given.k, given.q.shape);
  expect("v [B L H V]", given.v, [B, L, H, V]);
  expect("beta [B L H]", given.beta, [B, L, H]);
  expect("logDecay [B L H]", given.logDecay, [B, L, H]);
  expect("h0 [B H K V]", given.h0, [B, H, K, V]);
  expect("resets [B L]", given.resets, [B, L]);
  if (!Number.isInteger(chunkSize) || chunkSize < 1)
    throw new RangeError(`deltaRule: expected a chunkSize of at least 1, got ${chunkSize}`);
  const { resets, ...rest } = given;
  const h0 = given.h0 ?? zeros([B, H, K, V]);
  if (L === 0) return { y: zeros([B, 0, H, V]), hT: h0 };
  const logDecay = resets
    ? where(
        greater(reshape(cast(resets, "f32"), [B, L, 1]), 0),
        FORGET,
        broadcastTo(given.logDecay ?? zeros([1, 1, 1]), [B, L, H]),
      )
    : given.logDecay;
  const inputs = { ...rest, logDecay, h0 };
  return algorithm === "recurrent" ? recurrent(inputs) : inWholeChunks(inputs, chunkSize);
}

/** Whole chunks, and the positions behind them as one more. */
function inWholeChunks(given: DeltaRuleArguments & { readonly h0: Tensor }, Q: number): DeltaRuleResult {
  const L = given.q.shape[1]!;
  const whole = L - (L % Q);
  if (whole === 0 || whole === L) return deltaRuleChunks(given, Math.min(L, Q));
  const first = deltaRuleChunks(between(given, 0, whole), Q);
  const rest = deltaRuleChunks({ ...between(given, whole, L), h0: first.hT }, L - whole);
  return { y: concat([first.y, rest.y], 1), hT: rest.hT };
}

function between<T extends DeltaRuleArguments>(given: T, start: number, end: number): T {
  const cut = (x: Tensor): Tensor => sliceAxis(x, 1, start, end);
  const { q, k, v, beta, logDecay } = given;
  return { ...given, q: cut(q), k: cut(k), v: cut(v), beta: cut(beta), logDecay: logDecay && cut(logDecay) };
}

function recurrent(given: DeltaRuleArguments & { readonly h0: Tensor }): DeltaRuleResult {
  const outputs: Tensor[] = [];
  let h = given.h0;
  for (let t = 0; t < given.q.shape[1]!; t++) {
    const at = (x: Tensor): Tensor => reshape(sliceAxis(x, 1, t, t + 1), [x.shape[0]!, ...x.shape.slice(2)]);
    const { q, k, v, beta, logDecay } = given;
    const [y, next] = deltaRuleStep({
      q: at(q),
      k: at(k),
      v: at(v),
      beta: at(beta),
      logDecay: logDecay && at(logDecay),
      h,
    });
    outputs.push(y);
    h = next;
  }
  return { y: stack(outputs, 1), hT: h };
}

/** What {@link deltaRuleStep} takes: one position. */
export interface DeltaRuleStepArguments {
  /** Query [B H K]. */
  readonly q: Tensor;
  /** Key [B H K]. */
  readonly k: Tensor;
  /** Value [B H V]. */
  readonly v: Tensor;
  /** Share that is replaced [B H]. */
  readonly beta: Tensor;
  /** Logarithm of the decay [B H]; none: nothing decays. */
  readonly logDecay?: Tensor | undefined;
  /** State before the position [B H K V]. */
  readonly h: Tensor;
}

/**
 * One position of {@link deltaRule}.
 * @returns y [B H V] and the state after the position [B H K V].
 */
export function deltaRuleStep({ q, k, v, beta, logDecay, h }: DeltaRuleStepArguments): readonly [Tensor, Tensor] {
  const column = (x: Tensor): Tensor => expandDims(x, 3);
  const left = logDecay ? mul(exp(column(expandDims(logDecay, 2))), h) : h;
  const said = sum(mul(column(k), left), 2); // [B H V]
  const change = mul(expandDims(beta, 2), sub(v, said));
  const next = add(left, mul(column(k), expandDims(change, 2)));
  return [sum(mul(column(q), next), 2), next];
}

function expect(what: string, x: Tensor | undefined, shape: readonly number[]): void {
  if (x && (shape.length < 2 || x.shape.join() !== shape.join()))
    throw new ShapeError(`deltaRule: expected ${what}, here ${formatShape(shape)}, got shape ${formatShape(x.shape)}`);
}
