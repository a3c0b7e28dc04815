/** A memory kept while a signal goes by, and the history read back from it. */
import {
  assertNumber,
  assertSettings,
  assertTensor,
  concat,
  formatShape,
  matmul,
  reshape,
  ShapeError,
  sizeOf,
  sliceAxis,
  tensor,
  zeros,
  type Tensor,
} from "@seqmix/tensor";
import { hippoBasis, legendre, normalized } from "./basis.js";
import { multiply } from "./linear-algebra.js";
import { assertOptions, assertOrder, type HippoMeasureName, type HippoOptions } from "./matrices.js";
import { hippoRecurrence, scaledLegsRecurrence, type HippoRecurrence, type HippoRule } from "./recurrence.js";

/** Settings of {@link project}. */
export interface ProjectionOptions extends HippoOptions {
  /** N, coefficients at each time. */
  readonly order: number;
  /**
   * Length of a step in the measure's unit of time: a window of 2 is 2/dt samples. "scaled": the memory of "legs" stretches
   * with time and holds the whole past.
   */
  readonly dt: number | "scaled";
  /** "bilinear" by default. */
  readonly rule?: HippoRule | undefined;
}

/** Positions whose coefficients are one matrix product. */
const CHUNK = 32;

/**
 * The coefficients of the past at every time: x_t = Abar x_(t-1) + Bbar u_t from x = 0 on; differentiable in the signal.
 * @param signal [.. L]
 * @returns [.. L N]
 * @throws RangeError for "scaled" with a measure other than "legs", or an unknown measure or rule.
 */
export function project(signal: Tensor, measure: HippoMeasureName, options: ProjectionOptions): Tensor {
  assertSettings("project", options, ["order", "dt", "rule", "window", "alpha", "beta", "key"]);
  assertTensor("project", signal);
  const { order: N, dt, rule = "bilinear", ...rest } = options;
  assertOrder("project", N);
  if (dt !== "scaled") assertNumber("project", 'dt, "scaled" or', dt, { above: 0 });
  if (signal.shape.length === 0) throw new ShapeError("project: expected a signal [.. L], got a scalar");
  if (dt === "scaled" && measure !== "legs")
    throw new RangeError(`project: expected the measure "legs" with dt "scaled", got "${measure}"`);
  const L = signal.shape.at(-1)!;
  const outer = signal.shape.slice(0, -1);
  const B = sizeOf(outer);
  if (L === 0) return zeros([...outer, 0, N]);
  const fixed = dt === "scaled" ? undefined : hippoRecurrence(measure, N, dt, rule, rest);
  const stepAt = (t: number): HippoRecurrence => fixed ?? scaledLegsRecurrence(N, t, rule);
  const u = reshape(signal, [B, L]);
  let table: Tensor | undefined;
  let state = zeros([B, N]);
  const pieces: Tensor[] = [];
  for (let start = 0; start < L; start += CHUNK) {
    const T = Math.min(CHUNK, L - start);
    // The same recurrence at all times has one table for all full chunks.
    if (!table || !fixed || T < CHUNK) table = chunkTable(N, T, (k) => stepAt(start + k + 1));
    const given = concat([sliceAxis(u, 1, start, start + T), state], 1);
    const all = reshape(matmul(given, table), [B, T, N]);
    state = reshape(sliceAxis(all, 1, T - 1, T), [B, N]);
    pieces.push(all);
  }
  return reshape(concat(pieces, 1), [...outer, L, N]);
}

/** What T inputs and the state before them make of the T states [T+N T N]. */
function chunkTable(N: number, T: number, stepAt: (k: number) => HippoRecurrence): Tensor {
  const width = T + N;
  const table = new Float64Array(width * T * N);
  let map = new Float64Array(N * width);
  for (let n = 0; n < N; n++) map[n * width + T + n] = 1;
  for (let k = 0; k < T; k++) {
    const { Abar, Bbar } = stepAt(k);
    map = multiply(Abar, map, N) as Float64Array<ArrayBuffer>;
    for (let n = 0; n < N; n++) {
      map[n * width + k] = Bbar[n]!;
      for (let j = 0; j < width; j++) table[j * T * N + k * N + n] = map[n * width + j]!;
    }
  }
  return tensor(table, [width, T * N]);
}

/** Settings of {@link reconstruct}. */
export interface ReconstructionOptions extends HippoOptions {
  /** As in {@link project}. */
  readonly dt: number | "scaled";
  /**
   * Where the history is wanted: how many samples ago, 0 for the present, or with dt "scaled" the share of the past, 0 for its
   * beginning and 1 for the present.
   */
  readonly at: readonly number[];
}

/**
 * The history that coefficients stand for, sum_n x_n g_n.
 * @param coefficients [.. N], of one time or of many
 * @returns [.. length of `at`]
 * @throws RangeError for measures that are no projection onto a basis ({@link hippoBasis}).
 */
export function reconstruct(coefficients: Tensor, measure: HippoMeasureName, given: ReconstructionOptions): Tensor {
  assertSettings("reconstruct", given, ["dt", "at", "window", "alpha", "beta", "key"]);
  assertTensor("reconstruct", coefficients);
  const { dt, at, ...options } = given;
  assertOptions("reconstruct", options);
  if (dt !== "scaled") assertNumber("reconstruct", 'dt, "scaled" or', dt, { above: 0 });
  if (!Array.isArray(at))
    throw new TypeError(`reconstruct: expected a list of places at, got ${String(at)}; write [0]`);
  for (const place of at)
    assertNumber("reconstruct", "a place at", place, dt === "scaled" ? { from: 0, to: 1 } : { from: 0 });
  const N = coefficients.shape.at(-1);
  if (N === undefined)
    throw new ShapeError(`reconstruct: expected coefficients [.. N], got shape ${formatShape(coefficients.shape)}`);
  const columns = at.map((place) =>
    dt === "scaled" ? normalized(legendre(N, 2 * place - 1)) : hippoBasis(measure, N, place * dt, options),
  );
  const basis = new Float64Array(N * at.length);
  columns.forEach((column, k) => column.forEach((value, n) => (basis[n * at.length + k] = value)));
  const rows = sizeOf(coefficients.shape) / N;
  const out = matmul(reshape(coefficients, [rows, N]), tensor(basis, [N, at.length]));
  return reshape(out, [...coefficients.shape.slice(0, -1), at.length]);
}
