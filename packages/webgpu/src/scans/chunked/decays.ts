/**
 * What the other passes need of the decays, of every head and chunk. Decays between two steps are products of decays, not
 * exponentials of differences of sums: exact where a decay is 0, good for any decay, and nothing can overflow that the
 * recurrence itself would not.
 */
import { nodesOf, type ChunkedParts, type Operand, type Scalar } from "@seqmix/tensor/backend";
import { entryPoint, indent, type GpuPass } from "@seqmix/tensor/wgsl";
import { functionTexts } from "../../wgsl/functions.js";
import { affineText, writeValues } from "../../wgsl/values.js";
import {
  baseText,
  BLOCK,
  declarations,
  passOf,
  splitHeads,
  strideOf,
  tableAt,
  type Bound,
  type Chunks,
} from "./layout.js";

/** Vectors of a step's row in workgroup memory, one more than there are against bank conflicts. */
const SQUARE = BLOCK / 4 + 1;

/** Arrays that a decay may be computed from: any adapter binds as many beside the others. */
const MOST_ARRAYS = 4;

/** A decay of each step and head that this pass computes, if it is made of few arrays of f32; else it is laid out beforehand or an array as it is. */
export function computedDecay({ decay, form }: ChunkedParts): Scalar | undefined {
  if (form.decay.kind !== "scalar" || "input" in decay.from) return undefined;
  const { value } = decay.from.loop.outputs[0]!;
  const nodes = [...nodesOf([value])];
  const inputs = new Set(nodes.flatMap((node) => (node.op === "load" ? [node.input] : [])));
  const isPlain = (node: Scalar): boolean =>
    node.op === "load"
      ? !node.gather && form.kernel.inputs[node.input]!.dtype === "f32"
      : node.op !== "guard" && node.op !== "position";
  return inputs.size <= MOST_ARRAYS && nodes.every(isPlain) ? value : undefined;
}

/** WGSL of that decay, `decayAt`, with the names that arrays have. */
function decayFunction(
  { parts: { decay, form } }: Chunks,
  value: Scalar,
  nameOf: ReadonlyMap<number, string>,
): { readonly text: string; call(step: string): string } {
  const names = decay.axes.map((axis) => (axis === form.kernel.along ? "step" : `i${axis}`));
  const functions = new Set<string>();
  const lines: string[] = [];
  const [result] = writeValues(
    [value],
    {
      axes: names,
      functions,
      reduced: [],
      loaded: (load) => `${nameOf.get(load.input)}[${affineText(load.index, names)}]`,
      read: () => "0.0",
    },
    lines,
  );
  return {
    text: `${functionTexts(functions)}fn decayAt(${names.map((name) => `${name}: i32`).join(", ")}) -> f32 {
${indent([...lines, `return ${result};`].join("\n"))}
}
`,
    call: (step) => `decayAt(${names.map((name) => (name === "step" ? step : name)).join(", ")})`,
  };
}

/** The numbers of a head's steps that the pass reads, an array bound once; and the table that it writes. */
function scalarsOf(
  chunks: Chunks,
  table: number,
): {
  readonly bound: readonly Bound[];
  /** A step's number; 1 of none. */
  value(operand: Operand | undefined): string;
  readonly made: ReturnType<typeof decayFunction> | undefined;
} {
  const { parts, operands, L } = chunks;
  const { decay, drive, seed } = parts;
  const bound: Bound[] = [];
  const nameOf = new Map<number, string>();
  const bind = (name: string, buffer: number, access: "read" | "read_write" = "read"): void => {
    if (nameOf.has(buffer)) return;
    nameOf.set(buffer, name);
    bound.push({ name, buffer, type: "f32", access });
  };
  // with decays by key those of the table are 1
  const source = chunks.keyRows ? undefined : computedDecay(parts);
  if (!chunks.keyRows) bind("decay", operands.get(decay)!.buffer, source ? "read_write" : "read");
  if (drive.scale) bind("driveScale", operands.get(drive.scale)!.buffer);
  if (seed?.scale) bind("seedScale", operands.get(seed.scale)!.buffer);
  for (const node of source ? nodesOf([source]) : []) if (node.op === "load") bind(`x${node.input}`, node.input);
  bound.push({ name: "table", buffer: table, type: "vec4<f32>", access: "read_write" });
  return {
    bound,
    value: (operand) => {
      if (!operand) return "1.0";
      const place = operands.get(operand)!;
      const stride = strideOf(chunks, place, 1);
      return `${nameOf.get(place.buffer)}[${baseText(chunks, place, 1)}${stride === 0 ? "" : ` + min(t, ${L - 1}) * ${stride}`}]`;
    },
    made: source && decayFunction(chunks, source, nameOf),
  };
}

/** A workgroup for each head and chunk, a thread for each step. */
export function decaysPass(chunks: Chunks, table: number): GpuPass {
  const { parts, Q, L, H, table: at, sharesTable } = chunks;
  const count = sharesTable ? 1 : chunks.count;
  const { form, drive, seed } = parts;
  const blocks = Q / BLOCK;
  const { bound, value, made } = scalarsOf(chunks, table);
  const step = form.kernel.reverse ? `${L - 1} - min(t, ${L - 1})` : `min(t, ${L - 1})`;
  const steps = Array.from({ length: BLOCK }, (_, k) => k);
  const fours = steps.filter((k) => k % 4 === 0).map((k) => k / 4);
  const place = (name: string, k: number): string => `${name}${Math.floor(k / 4)}[${k % 4}]`;
  const pairs = (name: string): string => fours.map((k) => `var ${name}${k} = vec4<f32>();`).join("\n");
  const number = (offset: string): string => `table[(base + ${offset}) / 4][(base + ${offset}) % 4]`;
  /** By way of workgroup memory, so that neighbouring threads write neighbouring vectors. */
  const stored = (name: string, offset: number): string =>
    `${fours.map((k) => `square[lane * ${SQUARE} + ${k}] = ${name}${k};`).join("\n")}
workgroupBarrier();
${fours.map((k) => `table[(base + ${offset}) / 4 + lane + ${k * Q}] = square[(lane + ${k * Q}) / ${BLOCK / 4} * ${SQUARE} + lane % ${BLOCK / 4}];`).join("\n")}`;
  // growth in bits, to 16 binary places; factors of steps where there are none are 0
  const mosts = `atomicMax(&most[1], bitcast<u32>(abs(ofDrive)));
${seed ? "atomicMax(&most[2], bitcast<u32>(abs(ofSeed)));\n" : ""}if (abs(own) > 1.0) { atomicAdd(&most[0], u32(min(log2(abs(own)), 128.0) * 65536.0) + 2u); }
workgroupBarrier();
if (lane == 0) {
  let growth = min((atomicLoad(&most[0]) + 65535u) / 65536u, 127u);
  table[(base + ${at.most}) / 4] = vec4<f32>(bitcast<f32>((127u + growth) << 23u), bitcast<f32>(atomicLoad(&most[1])), bitcast<f32>(atomicLoad(&most[2])), 0.0);
}
`;
  const body = `if (group >= ${H * count}u) { return; }
let lane = i32(thread);
let h = i32(group) / ${count};
let c = i32(group) % ${count};
${splitHeads(chunks, "h", form.heads)}
let t = c * ${Q} + lane;
let inside = t < ${L};
${made ? `let given = ${made.call(step)};\nif (inside) { ${value(parts.decay)} = given; }` : ""}
let own = select(1.0, ${made ? "given" : value(chunks.keyRows ? undefined : parts.decay)}, inside);
let base = ${tableAt(chunks, "c", 1)};
let block = lane / ${BLOCK};
let step = lane % ${BLOCK};
let first = block * ${BLOCK};
decays[lane] = own;
${at.most === at.size ? "" : `if (lane < 3) { atomicStore(&most[lane], 0u); }\n`}workgroupBarrier();
// this step as the earlier one of a pair
var product = 1.0;
${pairs("forth")}
${steps.map((later) => `product = select(product, product * decays[first + ${later}], ${later} > step);\n${place("forth", later)} = select(0.0, product, ${later} >= step);`).join("\n")}
let toBlock = product;
// this step as the later one; \`rest\` without the chunk's first decay
product = 1.0;
var rest = 1.0;
${pairs("back")}
${steps
  .toReversed()
  .map(
    (earlier) =>
      `${place("back", earlier)} = select(0.0, product, ${earlier} <= step);\n${earlier === 0 ? "rest = product;\n" : ""}product = select(product, product * decays[first + ${earlier}], ${earlier} <= step);`,
  )
  .join("\n")}
let fromBlock = product;
rest = select(fromBlock, rest, block == 0);
if (step == ${BLOCK - 1}) {
  whole[block] = fromBlock;
  if (block == 0) { whole[${blocks}] = rest; }
}
workgroupBarrier();
var before = fromBlock;
var begin = rest;
var toEnd = toBlock;
for (var b = 0; b < ${blocks}; b++) {
  if (b < block) {
    before *= whole[b];
    begin *= whole[select(b, ${blocks}, b == 0)];
  }
  if (b > block) { toEnd *= whole[b]; }
}
${stored("forth", at.pairs)}
${at.pairsBack === at.fromBlock ? "" : `workgroupBarrier();\n${stored("back", at.pairsBack)}`}
${number(`${at.fromBlock} + lane`)} = fromBlock;
${number(`${at.toBlock} + lane`)} = toBlock;
${number(`${at.before} + lane`)} = before;
${
  seed
    ? `let fromBegin = ${sharesTable ? "before" : "select(before, begin, c == 0)"};
let ofSeed = select(0.0, ${value(seed.scale)}, inside);
${number(`${at.begin} + lane`)} = fromBegin;
${number(`${at.seed} + lane`)} = ofSeed;
${number(`${at.seedBegin} + lane`)} = ofSeed * fromBegin;`
    : ""
}
let ofDrive = select(0.0, ${value(drive.scale)}, inside);
${number(`${at.toEnd} + lane`)} = toEnd;
${number(`${at.drive} + lane`)} = ofDrive;
${number(`${at.driveToEnd} + lane`)} = ofDrive * toEnd;
${at.most === at.size ? "" : mosts}if (lane < ${blocks * blocks}) {
  let later = lane / ${blocks};
  let earlier = lane % ${blocks};
  var between = 1.0;
  for (var b = 0; b < ${blocks}; b++) {
    if (b > earlier) {
      if (b < later) { between *= whole[b]; }
    }
  }
  ${number(`${at.between} + lane`)} = select(0.0, between, later > earlier);
}`;
  const code = `${declarations(bound)}${made?.text ?? ""}var<workgroup> decays: array<f32, ${Q}>;
var<workgroup> whole: array<f32, ${blocks + 1}>;
${at.most === at.size ? "" : "var<workgroup> most: array<atomic<u32>, 3>;\n"}var<workgroup> square: array<vec4<f32>, ${Q * SQUARE}>;
${entryPoint(Q, indent(body, 0))}`;
  return passOf(chunks, bound, H * count, code);
}
