/**
 * Decays by key, four steps and four keys to a thread. A decay that is computed from other arrays is computed where it is
 * multiplied.
 *
 * Steps of a chunk are halved again and again. Between a later step of one half and an earlier step of the other lies their
 * boundary, so what decays between them is a factor of each: from the boundary to the later one, and from the earlier one to the
 * boundary. A level is all halves of one size; at each a step is on one side of one boundary.
 */
import type { DType } from "@seqmix/tensor";
import { isAtMostOne, nodesOf, type ChunkedParts, type Scalar } from "@seqmix/tensor/backend";
import { indent } from "@seqmix/tensor/wgsl";
import { functionTexts } from "../../wgsl/functions.js";
import { affineText, memoryType, registerType, softplusArgument, writeValues } from "../../wgsl/values.js";
import { baseText, isRagged, splitHeads, strideOf, type Bound, type Chunks } from "./layout.js";
import { FOUR, ONES, vectors } from "./vector.js";

type Load = Scalar & { readonly op: "load" };

/** Products of the block's decays: from before it to each step; from each step to its end. */
export const SINCE = ["a0", "a0 * a1", "a0 * a1 * a2", "a0 * a1 * a2 * a3"] as const;
export const UNTIL = ["a1 * a2 * a3", "a2 * a3", "a3", ONES] as const;

/** How often the blocks of a chunk are halved, and the blocks of a half at each level. */
export const halvesOf = (blocks: number): readonly number[] =>
  Array.from({ length: Math.log2(blocks) }, (_, level) => 2 ** level);

/** The decays of the blocks of the half next to a block's own, of so many blocks, in workgroup memory by block and vector `x` of keys. */
export const othersOf = (half: number, across: number, block: string): readonly string[] =>
  Array.from({ length: half }, (_, k) => `products[(${block} ^ ${half + k}) * ${across} + x]`);

/** A decay that is computed from other arrays here: rows of them are vectors of keys, or they are the same for all keys. */
export interface DecaySource {
  readonly value: Scalar;
  readonly loads: readonly Load[];
}

/** Arrays that the passes which multiply decays bind beside what these are computed from. */
const OTHER_ARRAYS = 7;

/**
 * Where the decay comes from, if passes that bind so many buffers can compute it; else it is laid out beforehand or an array as it
 * is. What may grow is looked at, so it has to be an array.
 */
export function decaySource({ decay, form: { kernel } }: ChunkedParts, buffers: number): DecaySource | undefined {
  if ("input" in decay.from || !isAtMostOne([decay.value])) return undefined;
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
  return arrays + OTHER_ARRAYS <= buffers &&
    isWhole(extents[keys]!) &&
    loads.every(uniform) &&
    nodes.every(({ op }) => op !== "guard" && op !== "position")
    ? { value, loads }
    : undefined;
}

/** Four keys' decays at a step of the sequence, behind which they are 1; the functions they need, and the arrays. */
export interface DecayTexts {
  readonly module: string;
  readonly bound: readonly Bound[];
  at(step: string): string;
}

export function decayTexts(chunks: Chunks, source: DecaySource | undefined): DecayTexts {
  const { parts, L, operands } = chunks;
  const ragged = isRagged(chunks);
  const kept = (decays: string, step: string): string =>
    ragged ? `select(${ONES}, ${decays}, ${step} < ${L})` : decays;
  const inside = (step: string): string => (ragged ? `min(${step}, ${L - 1})` : `(${step})`);
  if (source) {
    const { module, bound, call } = decayFunctions(chunks, source);
    const { reverse } = parts.form.kernel;
    return {
      module,
      bound,
      at: (step) => kept(call(reverse ? `${L - 1} - ${inside(step)}` : inside(step)), step),
    };
  }
  const place = operands.get(parts.decay)!;
  const at = (step: string): string =>
    `${baseText(chunks, place, 4)} + ${inside(step)} * ${strideOf(chunks, place, 4)} + e`;
  return {
    module: "",
    bound: [{ name: "decay", ...vectors(place) }],
    at: (step) => kept(`decay[${at(step)}]`, step),
  };
}

/** WGSL of four decays at a step, `decaysAt`, and the arrays it reads. */
function decayFunctions(
  { parts }: Chunks,
  { value, loads }: DecaySource,
): Pick<DecayTexts, "module" | "bound"> & { readonly call: (step: string) => string } {
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
  const power = powerOfSum(value);
  if (power) functions.add("isNan");
  const [written] = writeValues(
    [power?.of ?? value],
    { axes: names, functions, reduced: [], loaded: (load) => `y${numberOf(load)}`, read: () => "0.0" },
    lines,
  );
  const result = power ? `powerOfSum(${written}, ${power.exponent})` : written;
  const own = (load: Load): string =>
    kernel.inputs[load.input]!.dtype === "f16" ? (isVector(load) ? "vec4<f32>" : "f32") : "";
  const parameters = read.map((load, k) => `y${k}: ${registerType(load.dtype)}`).join(", ");
  const each = FOUR.map(
    (r) => `decayOf(${read.map((load, k) => (isVector(load) ? `v${k}[${r}]` : `v${k}`)).join(", ")})`,
  );
  const inputs = [...new Map(loads.map((load) => [load.input, load])).values()];
  return {
    module: `${functionTexts(functions)}${power ? POWER_OF_SUM : ""}fn decayOf(${parameters}) -> f32 {
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

/** e^(c softplus(x)) = (1 + e^x)^c for a constant c from -1 to 0, as gates are made: its exponent is needed to no more than absolute digits. */
function powerOfSum(decay: Scalar): { readonly of: Scalar; readonly exponent: number } | undefined {
  if (decay.op !== "exp") return undefined;
  const factorsOf = (x: Scalar): readonly Scalar[] => (x.op === "mul" ? x.args.flatMap(factorsOf) : [x]);
  const factors = factorsOf(decay.args[0]!);
  const sums = factors.flatMap((x) => softplusArgument(x) ?? []);
  const others = factors.filter((x) => !softplusArgument(x));
  const exponent = others.reduce((c, x) => (x.op === "constant" ? c * x.value : NaN), 1);
  return sums.length === 1 && exponent >= -1 && exponent < 0 ? { of: sums[0]!, exponent } : undefined;
}
const POWER_OF_SUM = `fn powerOfSum(x: f32, c: f32) -> f32 {
  let sum = 1.44269504 * max(x, 0.0) + log2(1.0 + exp2(-1.44269504 * abs(x)));
  return select(exp2(c * sum), x, isNan(x));
}
`;

function boundType(dtype: DType, vector: boolean): Bound["type"] {
  const type = memoryType(dtype) as "f32" | "f16" | "i32" | "u32";
  return vector ? `vec4<${type}>` : type;
}

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
