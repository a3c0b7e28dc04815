/** The gated linear unit on the WebGPU device. */
import type { GpuVariant, KernelCase } from "@seqmix/tensor";
import {
  bytesOf,
  declare,
  declareParameters,
  entryPoint,
  type GpuParameters,
  type GpuPass,
  type GpuProgram,
} from "@seqmix/tensor/wgsl";

type Case = KernelCase<undefined>;

/** Invocations of a workgroup. */
const THREADS = 128;
/** Workgroups that fill a large GPU, and the least rows of one. */
const FULL = 1024;
const FEWEST = 8;
/** Rows that a thread reads at once. */
const AT_ONCE = 4;
/** Columns of a workgroup that sums partial sums, and threads that share a column. */
const COLUMNS = 8;
const SHARES = 16;

interface Form {
  readonly R: number;
  /** Vectors of a half of a row. */
  readonly half: number;
  readonly type: "vec4f" | "f32";
  readonly bias: boolean;
}

const formOf = ({ dims, present }: Case): Form => {
  const D = dims["D"]!;
  const vectors = D % 4 === 0;
  return {
    R: dims["B"]! * dims["L"]!,
    half: vectors ? D / 4 : D,
    type: vectors ? "vec4f" : "f32",
    bias: present.has("bias"),
  };
};

/** 1 / (1 + e^-x), with errors of a few units: e^-x as a power of two and what is left of it. NaN, which exp2 may lose, is told by its bits. */
const sigmoidText = (type: Form["type"]): string => {
  const whole = type === "vec4f" ? "vec4i" : "i32";
  const shift = type === "vec4f" ? "vec4u(23u)" : "23u";
  const bits = type === "vec4f" ? "vec4u" : "u32";
  return `fn opened(x: ${type}) -> ${type} {
  let a = select(-x, ${type}(-87.5), x > ${type}(87.5));
  let c = select(a, ${type}(88.0), x < ${type}(-88.0));
  let n = floor(c * 1.44269504);
  let rest = (c - n * 0.693359375) + n * 2.12194440e-4;
  let open = 1.0 / (1.0 + exp2(rest * 1.44269504) * bitcast<${type}>((${whole}(n) + 127) << ${shift}));
  return select(open, x, (bitcast<${bits}>(x) & ${bits}(0x7fffffffu)) > ${bits}(0x7f800000u));
}
`;
};

function pass(
  form: Form,
  bound: readonly (readonly [name: string, buffer: number, access?: "read_write"])[],
  parameters: GpuParameters,
  groups: number,
  body: string,
  memory = "",
): GpuPass {
  const declarations = bound.map(([name, , access], k) => declare(k, name, access ?? "read", form.type)).join("");
  return {
    code: `${declarations}${declareParameters(bound.length, parameters)}${memory}${sigmoidText(form.type)}${entryPoint(THREADS, body)}`,
    buffers: bound.map(([, buffer, access]) => ({ buffer, access: access ?? "read" })),
    parameters,
    groups,
  };
}

/** Buffers: x, bias, y. */
function forward(kase: Case): GpuProgram {
  const form = formOf(kase);
  const { R, half, bias } = form;
  const plus = (at: string): string => (bias ? ` + bias[${at}]` : "");
  const body = `let i = group * ${THREADS}u + thread;
let half = u32(p.half);
if (i >= u32(p.R) * half) { return; }
let column = i % half;
let at = i / half * 2u * half + column;
y[i] = (x[at]${plus("column")}) * opened(x[at + half]${plus("half + column")});`;
  const bound = [["x", 0], ...(bias ? [["bias", 1] as const] : []), ["y", bias ? 2 : 1, "read_write"]] as const;
  const groups = Math.ceil((R * half) / THREADS);
  return { name: "a thread an element", passes: [pass(form, bound, { R, half }, groups, body)], scratch: [] };
}

/** Gradients of so many rows of a column. They are read together: one after the other each would wait for memory. */
function rowsText(count: number, bias: boolean): string {
  const plus = (of: string): string => (bias ? ` + ${of}` : "");
  const each = (text: (k: number) => string): string => Array.from({ length: count }, (_, k) => text(k)).join("\n");
  return [
    each((k) => `let at${k} = (row + ${k}u) * 2u * half + column;`),
    each((k) => `let value${k} = x[at${k}]${plus("valueBias")};`),
    each((k) => `let gate${k} = x[at${k} + half]${plus("gateBias")};`),
    each((k) => `let given${k} = g[(row + ${k}u) * half + column];`),
    each(
      (k) => `{
  let open = opened(gate${k});
  let a = given${k} * open;
  let b = a * value${k} * (1.0 - open);
  dx[at${k}] = a;
  dx[at${k} + half] = b;
  ${bias ? "ofValue += a;\n  ofGate += b;" : ""}
}`,
    ),
  ].join("\n");
}

/** Buffers: x, bias, g, dx, dbias, and sums over blocks of rows. */
function backward(kase: Case): GpuProgram {
  const form = formOf(kase);
  const { R, half, bias } = form;
  const strips = Math.ceil(half / THREADS);
  const rows = Math.max(FEWEST, Math.ceil(R / Math.ceil(FULL / strips)));
  const blocks = Math.ceil(R / rows);
  const name = `${rows} rows a workgroup`;
  const shift = bias ? 1 : 0;
  const numbers = { g: 1 + shift, dx: 2 + shift, dbias: 3 + shift, sums: 4 + shift };
  const turns = (count: number): string => rowsText(count, bias);
  const body = `let block = group / u32(p.strips);
let half = u32(p.half);
let column = group % u32(p.strips) * ${THREADS}u + thread;
if ((block >= u32(p.blocks)) | (column >= half)) { return; }
${bias ? `let valueBias = bias[column];\nlet gateBias = bias[half + column];\nvar ofValue = ${form.type}();\nvar ofGate = ${form.type}();` : ""}
let end = min(u32(p.R), (block + 1u) * u32(p.rows));
var row = block * u32(p.rows);
for (; row + ${AT_ONCE}u <= end; row += ${AT_ONCE}u) {
${turns(AT_ONCE)}
}
for (; row < end; row++) {
${turns(1)}
}
${bias ? "sums[block * 2u * half + column] = ofValue;\nsums[block * 2u * half + half + column] = ofGate;" : ""}`;
  const main = pass(
    form,
    [
      ["x", 0],
      ...(bias ? [["bias", 1] as const] : []),
      ["g", numbers.g],
      ["dx", numbers.dx, "read_write"],
      ...(bias ? [["sums", numbers.sums, "read_write"] as const] : []),
    ],
    { R, half, strips, rows, blocks },
    blocks * strips,
    body,
  );
  if (!bias) return { name, passes: [main], scratch: [] };
  const total = pass(
    form,
    [
      ["sums", numbers.sums],
      ["dbias", numbers.dbias, "read_write"],
    ],
    { columns: 2 * half, blocks },
    Math.ceil((2 * half) / COLUMNS),
    `let column = group * ${COLUMNS}u + thread % ${COLUMNS}u;
let share = thread / ${COLUMNS}u;
let within = min(column, u32(p.columns) - 1u);
var sum = ${form.type}();
for (var block = share; block < u32(p.blocks); block += ${SHARES}u) { sum += sums[block * u32(p.columns) + within]; }
parts[thread] = sum;
workgroupBarrier();
if ((share == 0u) & (column < u32(p.columns))) {
  for (var k = 1u; k < ${SHARES}u; k++) { sum += parts[k * ${COLUMNS}u + thread]; }
  dbias[column] = sum;
}`,
    `var<workgroup> parts: array<${form.type}, ${THREADS}>;\n`,
  );
  const elements = form.type === "vec4f" ? 4 : 1;
  return { name, passes: [main, total], scratch: [bytesOf(elements * 2 * half * blocks)] };
}

/** Of {@link gluKernel}. */
export const gluOnGpu: GpuVariant<undefined> = {
  device: "webgpu",
  name: "both halves at once",
  supports: ({ dims }, { bytes }) => {
    const { B = 0, L = 0, E = 0 } = dims;
    const R = B * L;
    if (R * E === 0 || E % 2 !== 0) return `expected elements in two halves, got ${R} rows of ${E}`;
    return bytesOf(R * E) <= bytes ? true : `expected tensors of at most ${bytes} bytes, got ${bytesOf(R * E)}`;
  },
  forward,
  backward,
};
