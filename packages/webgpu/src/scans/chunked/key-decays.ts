/**
 * Decays by key: from before the chunk to each step and from each step to the chunk's end. A thread has a block of four steps and
 * four keys; blocks tell each other their products. A decay that is computed from other arrays is computed here, once.
 */
import type { DType } from "@seqmix/tensor";
import { nodesOf, type ChunkedParts, type Scalar } from "@seqmix/tensor/backend";
import { entryPoint, indent, type GpuPass } from "@seqmix/tensor/wgsl";
import { functionTexts } from "../../wgsl/functions.js";
import { affineText, memoryType, registerType, writeValues } from "../../wgsl/values.js";
import {
  baseText,
  declarations,
  keyDecayVectors,
  passOf,
  splitHeads,
  strideOf,
  type Bound,
  type Chunks,
  type KeyDecays,
} from "./layout.js";
import { vectors } from "./vector.js";

type Load = Scalar & { readonly op: "load" };

const FOUR = [0, 1, 2, 3] as const;
const ONES = "vec4<f32>(1.0)";
/** Four-key vectors of a workgroup. */
const ACROSS = 8;

/** Products of the block's decays: from before it to each step; from each step to its end. */
export const SINCE = ["a0", "a0 * a1", "a0 * a1 * a2", "a0 * a1 * a2 * a3"] as const;
export const UNTIL = ["a1 * a2 * a3", "a2 * a3", "a3", ONES] as const;

/** Workgroups of a head's chunk, each with a number of `mosts`. */
export const keyDecayGroups = ({ K4 }: Chunks): number => Math.ceil(K4 / ACROSS);

/** A decay that is computed from other arrays here: rows of them are vectors of keys, or they are the same for all keys. */
export interface DecaySource {
  readonly value: Scalar;
  readonly loads: readonly Load[];
}

/** Arrays of such a decay: any adapter binds as many beside those that the pass writes. */
const MOST_ARRAYS = 4;

/** Where the decay comes from, if this pass can compute it; else it is laid out beforehand or an array as it is. */
export function decaySource({ decay, form: { kernel } }: ChunkedParts): DecaySource | undefined {
  if ("input" in decay.from) return undefined;
  const { outputs, extents } = decay.from.loop;
  const { value } = outputs[0]!;
  const keys = extents.length - 1;
  const nodes = [...nodesOf([value])];
  const loads = nodes.filter((node): node is Load => node.op === "load");
  const isWhole = (x: number): boolean => x % 4 === 0;
  const inVectors = ({ index: { coefficients, offset } }: Load): boolean =>
    coefficients[keys] === 1 && [offset, ...coefficients.slice(0, keys)].every(isWhole);
  const isSame = ({ index }: Load): boolean => index.coefficients[keys] === 0;
  const uniform = (load: Load): boolean =>
    !load.gather &&
    (inVectors(load) || isSame(load)) &&
    loads.every((other) => other.input !== load.input || isSame(other) === isSame(load)) &&
    kernel.inputs[load.input]!.dtype !== "bool";
  const arrays = new Set(loads.map(({ input }) => input)).size;
  return arrays <= MOST_ARRAYS &&
    isWhole(extents[keys]!) &&
    loads.every(uniform) &&
    nodes.every(({ op }) => op !== "guard" && op !== "position")
    ? { value, loads }
    : undefined;
}

/** WGSL of four decays at a step, `decaysAt`, and the arrays it reads. */
function decayFunctions(
  { parts }: Chunks,
  { value, loads }: DecaySource,
): { readonly text: string; readonly call: (step: string) => string; readonly bound: readonly Bound[] } {
  const { kernel } = parts.form;
  const { axes } = parts.decay;
  const keys = axes.length - 1;
  const names = axes.map((axis, k) => (k === keys ? "e" : axis === kernel.along ? "step" : `i${axis}`));
  const isVector = ({ index }: Load): boolean => index.coefficients[keys] !== 0;
  /** Vectors of keys are counted in fours, as `e` is. */
  const element = (load: Load): string => {
    const { offset, coefficients } = load.index;
    const index = isVector(load)
      ? { offset: offset / 4, coefficients: coefficients.map((c, k) => (k === keys ? c : c / 4)) }
      : load.index;
    return `x${load.input}[${affineText(index, names)}]`;
  };
  const read = [...new Map(loads.map((load) => [element(load), load])).values()];
  const numberOf = (load: Load): number => read.findIndex((other) => element(other) === element(load));
  const functions = new Set<string>();
  const lines: string[] = [];
  const [result] = writeValues(
    [value],
    { axes: names, functions, reduced: [], loaded: (load) => `y${numberOf(load)}`, read: () => "0.0" },
    lines,
  );
  const own = (load: Load): string =>
    kernel.inputs[load.input]!.dtype === "f16" ? (isVector(load) ? "vec4<f32>" : "f32") : "";
  const parameters = read.map((load, k) => `y${k}: ${registerType(load.dtype)}`).join(", ");
  const each = FOUR.map(
    (r) => `decayOf(${read.map((load, k) => (isVector(load) ? `v${k}[${r}]` : `v${k}`)).join(", ")})`,
  );
  const inputs = [...new Map(loads.map((load) => [load.input, load])).values()];
  return {
    text: `${functionTexts(functions)}fn decayOf(${parameters}) -> f32 {
${indent([...lines, `return ${result};`].join("\n"))}
}
fn decaysAt(${names.map((name) => `${name}: i32`).join(", ")}) -> vec4<f32> {
${read.map((load, k) => `  let v${k} = ${own(load)}(${element(load)});`).join("\n")}
  return vec4<f32>(${each.join(", ")});
}
`,
    call: (step) => `decaysAt(${names.map((name) => (name === "step" ? step : name)).join(", ")})`,
    bound: inputs.map((load) => ({
      name: `x${load.input}`,
      buffer: load.input,
      type: boundType(kernel.inputs[load.input]!.dtype, isVector(load)),
    })),
  };
}

function boundType(dtype: DType, vector: boolean): Bound["type"] {
  const type = memoryType(dtype) as "f32" | "f16" | "i32" | "u32";
  return vector ? `vec4<${type}>` : type;
}

export function keyDecaysPass(chunks: Chunks, to: KeyDecays): GpuPass {
  const { parts, Q, L, H, count, K4, operands } = chunks;
  const { reverse } = parts.form.kernel;
  const place = operands.get(parts.decay)!;
  const blocks = Q / 4;
  const across = keyDecayGroups(chunks);
  const groups = H * count * across;
  const source = decaySource(parts);
  const made = source && decayFunctions(chunks, source);
  const bound: readonly Bound[] = [
    ...(made?.bound ?? []),
    { name: "decay", ...vectors(place), access: made ? "read_write" : "read" },
    { name: "before", buffer: to.before, type: "vec4<f32>", access: "read_write" },
    { name: "toEnd", buffer: to.toEnd, type: "vec4<f32>", access: "read_write" },
    ...(to.begin === undefined
      ? []
      : [{ name: "begin", buffer: to.begin, type: "vec4<f32>", access: "read_write" } as const]),
    ...(to.mosts === undefined
      ? []
      : [{ name: "mosts", buffer: to.mosts, type: "f32", access: "read_write" } as const]),
  ];
  const stride = strideOf(chunks, place, 4);
  const at = (r: number): string => `${baseText(chunks, place, 4)} + min(t + ${r}, ${L - 1}) * ${stride} + e`;
  const step = (r: number): string => (reverse ? `${L - 1} - min(t + ${r}, ${L - 1})` : `min(t + ${r}, ${L - 1})`);
  const body = `${columnOfChunk(chunks, across, ACROSS)}
let e = min(column, ${K4 - 1});
let i = lane / ${ACROSS};
let x = lane % ${ACROSS};
let t = c * ${Q} + 4 * i;
${FOUR.map((r) => `let own${r} = ${made ? made.call(step(r)) : `decay[${at(r)}]`};\nlet a${r} = select(${ONES}, own${r}, t + ${r} < ${L});`).join("\n")}
whole[i * ${ACROSS} + x] = a0 * a1 * a2 * a3;
${to.begin === undefined ? "" : `if (i == 0) { rest[x] = a1 * a2 * a3; }\n`}workgroupBarrier();
var sinceChunk = ${ONES};
var sinceFirst = ${ONES};
for (var j = 0; j < i; j++) {
  let other = whole[j * ${ACROSS} + x];
  sinceChunk *= other;
${to.begin === undefined ? "" : `  sinceFirst *= select(other, rest[x], j == 0);\n`}}
var untilEnd = ${ONES};
for (var j = ${blocks - 1}; j > i; j--) { untilEnd *= whole[j * ${ACROSS} + x]; }
if (column < ${K4}) {
  let to = h * ${keyDecayVectors(chunks)} + t * ${K4} + e;
${FOUR.map(
  (r) => `  before[to + ${r * K4}] = sinceChunk * (${SINCE[r]});
  toEnd[to + ${r * K4}] = untilEnd * (${UNTIL[r]});${made ? `\n  if (t + ${r} < ${L}) { decay[${at(r)}] = own${r}; }` : ""}`,
).join("\n")}
${
  to.begin === undefined
    ? ""
    : `  if (c == 0) {
    let first = h * ${Q * K4} + t * ${K4} + e;
${FOUR.map((r) => `    begin[first + ${r * K4}] = sinceFirst * select(${SINCE[r]}, ${["ONE", "a1", "a1 * a2", "a1 * a2 * a3"][r]!.replace("ONE", ONES)}, i == 0);`).join("\n")}
  }
`
}}
${to.mosts === undefined ? "" : mostText(blocks)}`;
  const code = `${declarations(bound)}var<workgroup> whole: array<vec4<f32>, ${blocks * ACROSS}>;
${to.begin === undefined ? "" : `var<workgroup> rest: array<vec4<f32>, ${ACROSS}>;\n`}${made?.text ?? ""}${entryPoint(blocks * ACROSS, body)}`;
  return passOf(chunks, bound, groups, code);
}

/** The largest decay of the chunk among the workgroup's keys. */
const mostText = (blocks: number): string => `workgroupBarrier();
let most = abs(sinceChunk * (${SINCE[3]}));
if (i == ${blocks - 1}) { whole[x] = most; }
workgroupBarrier();
if (lane == 0) {
  var all = whole[0];
  for (var k = 1; k < ${ACROSS}; k++) { all = max(all, whole[k]); }
  mosts[number] = max(max(all.x, all.y), max(all.z, all.w));
}`;

/** A thread's head h, chunk c and column of keys: a workgroup has `across` neighbouring ones of a chunk, of `columns` blocks. */
export function columnOfChunk(chunks: Chunks, columns: number, across: number): string {
  const { parts, H, count } = chunks;
  return `let number = i32(group);
if (number >= ${H * count * columns}) { return; }
let lane = i32(thread);
let column = number % ${columns} * ${across} + lane % ${across};
let c = number / ${columns} % ${count};
let h = number / ${columns * count};
${splitHeads(chunks, "h", parts.form.heads)}`;
}
