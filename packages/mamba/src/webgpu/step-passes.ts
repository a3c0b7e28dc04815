/** The passes of one position of the Mamba block. Rows of several sequences lie one behind the other. */
import { declare, entryPoint, rowProgram, type GpuPass, type RowProduct } from "@seqmix/tensor/wgsl";

/** Extents, and which inputs are f16. */
export interface StepForm extends Readonly<Record<"B" | "D" | "E" | "N" | "R" | "W", number>> {
  /** What a workgroup may take. */
  readonly workgroupBytes: number;
  half(name: string): boolean;
}

/** Numbers of the program's buffers by name. */
export type Numbered = (name: string) => number;

/** A buffer of a pass under the name its text has for it. */
interface Used {
  readonly buffer: string;
  readonly as?: string;
  readonly type?: string;
  readonly written?: boolean;
}

/** The products with weights. */
export const productsOf = ({
  B,
  D,
  E,
  N,
  R,
  half,
}: StepForm): Readonly<Record<"input" | "selection" | "output", RowProduct>> => ({
  input: { m: B, n: 2 * E, k: D, half: half("inProj") },
  selection: { m: B, n: R + 2 * N, k: E, half: half("xProj") },
  output: { m: B, n: D, k: E, half: half("outProj") },
});

const vectors = (half: boolean): string => (half ? "vec4<f16>" : "vec4<f32>");

/** x [B k] and weights [n k] -> what `finish` makes of their products. */
function productPass(
  product: RowProduct,
  { workgroupBytes }: StepForm,
  number: Numbered,
  x: string,
  w: string,
  others: readonly Used[],
  finish: string,
): GpuPass {
  const { groups, memory, threads, body } = rowProgram(product, workgroupBytes)!;
  const used: Used[] = [
    { buffer: x, as: "x", type: "vec4<f32>" },
    { buffer: w, as: "w", type: vectors(product.half) },
    ...others,
  ];
  return passOf(used, number, groups, memory, entryPoint(threads, body(finish)));
}

const passOf = (used: readonly Used[], number: Numbered, groups: number, ...texts: readonly string[]): GpuPass => ({
  code:
    used
      .map(({ buffer, as = buffer, type = "f32", written }, binding) =>
        declare(binding, as, written ? "read_write" : "read", type),
      )
      .join("") + texts.join(""),
  buffers: used.map(({ buffer, written }) => ({ buffer: number(buffer), access: written ? "read_write" : "read" })),
  groups,
});

/** x -> both [2 B E]: u behind its convolution, z. */
export function inputPass(form: StepForm, number: Numbered): GpuPass {
  const { B, E, W } = form;
  const V = W - 1;
  const taps = Array.from({ length: V }, (_, w) => w);
  const finish = `if (column >= ${E}) {
  both[(${B} + row) * ${E} + column - ${E}] = value;
} else {
  let at = (row * ${E} + column) * ${V};
${taps.map((w) => `  let past${w} = window[at + ${w}];`).join("\n")}
  var sum = convBias[column] + conv[column * ${W} + ${V}] * value;
${taps.map((w) => `  sum += conv[column * ${W} + ${w}] * past${w};`).join("\n")}
${taps.map((w) => `  nextWindow[at + ${w}] = ${w + 1 < V ? `past${w + 1}` : "value"};`).join("\n")}
  both[row * ${E} + column] = sum / (1f + exp(-sum));
}`;
  const others: Used[] = [
    { buffer: "conv" },
    { buffer: "convBias" },
    ...(V > 0 ? [{ buffer: "window" }, { buffer: "nextWindow", written: true }] : []),
    { buffer: "both", written: true },
  ];
  return productPass(productsOf(form).input, form, number, "x", "inProj", others, finish);
}

/** u -> selected [B R+2N]: step sizes before their projection, B, C. */
export function selectionPass(form: StepForm, number: Numbered): GpuPass {
  const product = productsOf(form).selection;
  const others: Used[] = [{ buffer: "selected", written: true }];
  return productPass(product, form, number, "both", "xProj", others, `selected[row * ${product.n} + column] = value;`);
}

/** y = out_proj of what the scan put in the place of u. */
export function outputPass(form: StepForm, number: Numbered): GpuPass {
  const others: Used[] = [{ buffer: "y", written: true }];
  return productPass(
    productsOf(form).output,
    form,
    number,
    "both",
    "outProj",
    others,
    `y[row * ${form.D} + column] = value;`,
  );
}

const THREADS = 64;

// Twice the series of atanh(e / (2 + e)), for e = exp(-|x|), at most 1.
const softplus = `fn softplus(x: f32) -> f32 {
  let e = exp(-abs(x));
  let s = e / (2f + e);
  let z = s * s;
  let p = ((((((z / 15f + 1f / 13f) * z + 1f / 11f) * z + 1f / 9f) * z + 1f / 7f) * z + 0.2f) * z + 1f / 3f) * z;
  return max(x, 0f) + 2f * (s * p + s);
}
`;

/**
 * selected, u, z -> the next state, and in the place of u what goes out. A thread has four entries of a channel's state and every
 * so manieth vector of its step size's projection; threads of a channel meet in workgroup memory.
 */
export function scanPass({ B, E, N, R, half }: StepForm, number: Numbered): GpuPass {
  const shared = N / 4;
  const channels = THREADS / shared;
  const [steps, all] = [R / 4, (R + 2 * N) / 4];
  const wide = (name: string, index: string): string =>
    half(name) ? `vec4<f32>(${name}[${index}])` : `${name}[${index}]`;
  const sum = Array.from({ length: shared }, (_, q) => `sums[base + ${q}]`).join(" + ");
  const body = `let mine = i32(group) * ${channels} + i32(thread) / ${shared};
let lane = i32(thread) % ${shared};
let base = i32(thread) - lane;
// A channel beyond the last is computed as the last one, and not stored.
let pair = min(mine, ${B * E - 1});
let e = pair % ${E};
let b = pair / ${E};
var dt = 0f;
for (var r = lane; r < ${steps}; r += ${shared}) {
  dt += dot(${wide("dtProj", `e * ${steps} + r`)}, selected[b * ${all} + r]);
}
let before = state[pair * ${shared} + lane];
let rate = exp(${wide("aLog", `e * ${shared} + lane`)});
let enters = selected[b * ${all} + ${steps} + lane];
let leaves = selected[b * ${all} + ${steps + shared} + lane];
let u = both[pair];
sums[thread] = dt;
workgroupBarrier();
let delta = softplus(dtBias[e] + ${sum});
workgroupBarrier();
let after = exp(-delta * rate) * before + (delta * u) * enters;
sums[thread] = dot(after, leaves);
workgroupBarrier();
if (mine < ${B * E}) {
  nextState[pair * ${shared} + lane] = after;
  if (lane == 0) {
    let z = both[${B * E} + pair];
    both[pair] = (${sum} + skip[e] * u) * (z / (1f + exp(-z)));
  }
}`;
  const used: Used[] = [
    { buffer: "both", written: true },
    { buffer: "selected", type: vectors(false) },
    { buffer: "dtProj", type: vectors(half("dtProj")) },
    { buffer: "dtBias" },
    { buffer: "aLog", type: vectors(half("aLog")) },
    { buffer: "skip" },
    { buffer: "state", type: vectors(false) },
    { buffer: "nextState", type: vectors(false), written: true },
  ];
  const groups = Math.ceil((B * E) / channels);
  return passOf(
    used,
    number,
    groups,
    `var<workgroup> sums: array<f32, ${THREADS}>;
${softplus}`,
    entryPoint(THREADS, body),
  );
}
