/** The delta rule: a memory in which a key replaces what it has written (Yang et al., Parallelizing Linear Transformers with the Delta Rule over Sequence Length, 2024). */
import {
  add,
  assertOneOf,
  assertSettings,
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
import type { DeltaRuleArguments, DeltaRuleOptions, DeltaRuleResult, DeltaRuleStepArguments } from "./arguments.js";
import { deltaRuleChunks } from "./chunks.js";

/** A log decay that forgets everything: its exponential is 0, in double precision too. */
const FORGET = -1e4;

/**
 * S_t = (1 - beta_t k_t k_t^T) a_t S_(t-1) + beta_t k_t v_t^T, y_t = q_t^T S_t, a_t = exp(logDecay_t): what the memory says
 * at k_t is moved to v_t by the share beta_t. With decays: Yang, Kautz, Hatamizadeh, Gated Delta Networks, 2024.
 * @throws ShapeError if shapes do not fit; TypeError for settings that do not exist; DTypeError for what is no tensor; RangeError for a chunkSize below 1.
 */
export function deltaRule(given: DeltaRuleArguments, options: DeltaRuleOptions = {}): DeltaRuleResult {
  assertSettings("deltaRule", given, {
    q: "tensor",
    k: "tensor",
    v: "tensor",
    beta: "tensor",
    logDecay: "tensor?",
    h0: "tensor?",
    resets: "tensor?",
  });
  assertSettings("deltaRule", options, ["algorithm", "chunkSize"]);
  const { algorithm = "chunked", chunkSize = 64 } = options;
  assertOneOf("deltaRule", "algorithm", algorithm, ["chunked", "recurrent"]);
  const [B, L, H, K] = given.q.shape as [number, number, number, number];
  const V = given.v.shape.at(-1)!;
  assertShape("deltaRule", "q and k [B L H K]", given.k, given.q.shape);
  assertShape("deltaRule", "v [B L H V]", given.v, [B, L, H, V]);
  assertShape("deltaRule", "beta [B L H]", given.beta, [B, L, H]);
  assertShape("deltaRule", "logDecay [B L H]", given.logDecay, [B, L, H]);
  assertShape("deltaRule", "h0 [B H K V]", given.h0, [B, H, K, V]);
  assertShape("deltaRule", "resets [B L]", given.resets, [B, L]);
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

/**
 * One position of {@link deltaRule}.
 * @returns y [B H V] and the state after the position [B H K V].
 * @throws ShapeError if shapes do not fit; DTypeError for what is no tensor.
 */
export function deltaRuleStep(given: DeltaRuleStepArguments): readonly [Tensor, Tensor] {
  assertSettings("deltaRuleStep", given, {
    q: "tensor",
    k: "tensor",
    v: "tensor",
    beta: "tensor",
    logDecay: "tensor?",
    h: "tensor",
  });
  const { q, k, v, beta, logDecay, h } = given;
  const [B, H, K] = q.shape as [number, number, number];
  const V = v.shape.at(-1)!;
  assertShape("deltaRuleStep", "q and k [B H K]", k, q.shape);
  assertShape("deltaRuleStep", "v [B H V]", v, [B, H, V]);
  assertShape("deltaRuleStep", "beta [B H]", beta, [B, H]);
  assertShape("deltaRuleStep", "logDecay [B H]", logDecay, [B, H]);
  assertShape("deltaRuleStep", "h [B H K V]", h, [B, H, K, V]);
  const column = (x: Tensor): Tensor => expandDims(x, 3);
  const left = logDecay ? mul(exp(column(expandDims(logDecay, 2))), h) : h;
  const said = sum(mul(column(k), left), 2); // [B H V]
  const change = mul(expandDims(beta, 2), sub(v, said));
  const next = add(left, mul(column(k), expandDims(change, 2)));
  return [sum(mul(column(q), next), 2), next];
}

function assertShape(name: string, what: string, x: Tensor | undefined, shape: readonly number[]): void {
  if (x && (shape.length < 2 || x.shape.join() !== shape.join()))
    throw new ShapeError(
      `${name}: expected ${what}, here ${formatShape(shape)}, got shape ${formatShape(x.shape)}; check the axes`,
    );
}
