/**
 * Renders a row kernel as one WGSL pass. A workgroup computes one row or several; the threads of a row take its points
 * in turn, stage by stage: first the reductions that need no other, then those that need their results, at last the row
 * outputs. Threads combine on two levels, always in the same order. What a later stage needs of a point stays in registers
 * where a thread has few points, and is computed again from memory near the processor where it has many.
 */
import {
  identity,
  parts,
  product,
  roots,
  rowStages,
  stageValues,
  variesAlongRow,
  type Affine,
  type LoopKernel,
  type Output,
  type Reduction,
  type RowStage,
  type Scalar,
} from "@seqmix/tensor/backend";
import { declare, entryPoint, indent, type GpuBinding, type GpuPass } from "@seqmix/tensor/wgsl";
import { functionTexts } from "../wgsl/functions.js";
import { axisNames, loadsOf, split, textLength, type Load } from "../loops/text.js";
import {
  affineText,
  combineText,
  fromMemory,
  literal,
  memoryType,
  registerType,
  toMemory,
  writeValues,
  type Surroundings,
} from "../wgsl/values.js";

/** Points of a row that a thread takes, as long as the row has threads for them. */
const POINTS = 16;
/** Most points a thread computes without a loop, and most registers it keeps values in from stage to stage. */
const MOST_POINTS = 32,
  MOST_KEPT = 48;
const MOST_HEADS = 16;
/** Neighbouring threads that take neighbouring points of a row, however short it is: what memory reads at once. */
const NEAR = 8;
/** Threads of a workgroup of short rows: many small workgroups take longer to start than to run. */
const THREADS = 256;
/** 4-byte elements of workgroup memory that every adapter has. */
const SHARED = 4096;
/** Most operations written out: compilers take long over more. Four points together, and all points of a thread. */
const LONGEST_FOUR = 120,
  LONGEST_UNROLLED = 2400;

/** Threads of a workgroup: `lanes` share a row, and there are `rows` rows. */
interface Arrangement {
  readonly lanes: number;
  readonly rows: number;
  /** Neighbouring threads have neighbouring rows, not neighbouring points. */
  readonly across: boolean;
  /** Points next to each other that a thread computes together. */
  readonly width: 1 | 4;
}

/** @param kernel Simplified, of at least one point. @param threads The most a workgroup may have. */
export function rowPass(
  kernel: LoopKernel,
  buffers: { readonly inputs: readonly number[]; readonly outputs: readonly number[] },
  threads: number,
): GpuPass {
  const arrangement = arrange(kernel, threads);
  const { lanes, rows, width } = arrangement;
  const perThread = Math.ceil(product(kernel.reduceExtents) / (lanes * width)) * width;
  const unrolled = perThread <= MOST_POINTS && lengthOfPoint(kernel) * perThread <= LONGEST_UNROLLED;
  // What fits: everything that later stages use, only what is read from memory, or nothing.
  const choices = unrolled ? [rowStages(kernel, () => true), rowStages(kernel, (node) => node.op === "load")] : [];
  const stages =
    choices.find((list) => list.flatMap((stage) => stage.keeps).length * perThread <= MOST_KEPT) ??
    rowStages(kernel, () => false);
  const vectors = vectorLoads(kernel, arrangement);
  const names = bind(kernel, buffers, vectors, arrangement);
  const functions = new Set<string>();
  const code = write({
    kernel,
    arrangement,
    stages,
    vectors,
    names,
    functions,
    chunks: unrolled ? perThread / width : undefined,
  });
  return {
    code: names.declarations + functionTexts(functions) + code,
    buffers: names.bindings,
    groups: Math.ceil(product(kernel.extents) / rows),
  };
}

function arrange(kernel: LoopKernel, limit: number): Arrangement {
  const length = product(kernel.reduceExtents);
  const most = Math.min(limit, powerBelow(SHARED / Math.max(1, kernel.reductions.length)));
  const wanted = powerAbove(length / POINTS);
  if (runsAcross(kernel)) {
    const rows = Math.min(powerAbove(product(kernel.extents)), Math.max(8, Math.min(32, powerBelow(most / wanted))));
    return { lanes: Math.min(wanted, most / rows), rows, across: true, width: 1 };
  }
  const width = kernel.reduceExtents.at(-1)! % 4 === 0 && lengthOfPoint(kernel) <= LONGEST_FOUR ? 4 : 1;
  const lanes = Math.min(Math.max(wanted, Math.min(NEAR, powerAbove(length / width))), most);
  return {
    lanes,
    rows: Math.max(1, Math.min(THREADS, most, powerAbove(product(kernel.extents)) * lanes) / lanes),
    across: false,
    width,
  };
}

/** Operations that are written out for every point; what is the same in the whole row is computed once. */
const lengthOfPoint = (kernel: LoopKernel): number => textLength(roots(kernel), variesAlongRow(kernel));

const powerAbove = (x: number): number => 2 ** Math.ceil(Math.log2(Math.max(1, x)));
const powerBelow = (x: number): number => 2 ** Math.floor(Math.log2(Math.max(1, x)));

/** Whether neighbouring rows lie next to each other in memory, and neighbouring points of a row do not. */
function runsAcross(kernel: LoopKernel): boolean {
  const outer = kernel.extents.length;
  if (outer === 0) return false;
  // What all of a row reads is read once.
  const indices = [
    ...loadsOf(roots(kernel)).map((load) => load.index),
    ...kernel.outputs.flatMap((o) => o.index ?? []),
  ].filter(({ coefficients }) => coefficients.some((c, axis) => axis >= outer && c !== 0));
  const count = (axis: number): number =>
    indices.filter(({ coefficients }) => Math.abs(coefficients[axis]!) === 1).length;
  return count(outer - 1) > count(outer + kernel.reduceExtents.length - 1);
}

/** Whether four neighbouring points lie in four neighbouring elements that begin at a multiple of four. */
const isVector = ({ offset, coefficients }: Affine): boolean =>
  offset % 4 === 0 && coefficients.every((c, k) => (k === coefficients.length - 1 ? c === 1 : c % 4 === 0));

/** Loads that come as vectors of four: a buffer is declared as one or the other. */
function vectorLoads(kernel: LoopKernel, { width }: Arrangement): readonly Load[] {
  if (width === 1) return [];
  const loads = loadsOf(roots(kernel));
  const scalar = new Set(loads.flatMap((load) => (!load.gather && isVector(load.index) ? [] : [load.input])));
  return loads.filter((load) => !scalar.has(load.input));
}

interface Names {
  readonly declarations: string;
  readonly bindings: readonly GpuBinding[];
  /** By output, whether it is stored in vectors of four. */
  readonly wide: readonly boolean[];
}

function bind(
  kernel: LoopKernel,
  { inputs, outputs }: { readonly inputs: readonly number[]; readonly outputs: readonly number[] },
  vectors: readonly Load[],
  { width }: Arrangement,
): Names {
  const bindings: GpuBinding[] = [];
  let declarations = "";
  const add = (buffer: number, name: string, access: GpuBinding["access"], type: string): void => {
    declarations += declare(bindings.length, name, access, type);
    bindings.push({ buffer, access });
  };
  const isWide = new Set(vectors.map((load) => load.input));
  for (const input of [...new Set(loadsOf(roots(kernel)).map((load) => load.input))].sort((a, b) => a - b)) {
    const type = memoryType(kernel.inputs[input]!.dtype);
    add(inputs[input]!, `x${input}`, "read", isWide.has(input) ? `vec4<${type}>` : type);
  }
  const wide = kernel.outputs.map(({ index }) => width === 4 && index !== undefined && isVector(index));
  kernel.outputs.forEach(({ dtype }, k) =>
    add(outputs[k]!, `y${k}`, "read_write", wide[k] ? `vec4<${memoryType(dtype)}>` : memoryType(dtype)),
  );
  return { declarations, bindings, wide };
}

interface Context {
  readonly kernel: LoopKernel;
  readonly arrangement: Arrangement;
  readonly stages: readonly RowStage[];
  readonly vectors: readonly Load[];
  readonly names: Names;
  readonly functions: Set<string>;
  /** Groups of `width` points of a thread, each written out; undefined: a loop over them. */
  readonly chunks: number | undefined;
}

function write(context: Context): string {
  const {
    kernel,
    arrangement: { lanes, rows, across, width },
    stages,
    functions,
    chunks,
  } = context;
  const { reductions } = kernel;
  const count = product(kernel.extents);
  const whole = count % rows === 0;
  const threads = lanes * rows;
  const stride = across ? rows : 1;
  /** Lanes that combine the others' results before all lanes combine theirs. */
  const heads = Math.min(lanes, MOST_HEADS);
  const text = (k: number, x: string, y: string): string =>
    combineText(reductions[k]!.combine, reductions[k]!.value.dtype, x, y, functions);
  const shared = reductions.map((r, k) => `var<workgroup> shared${k}: array<${r.value.dtype}, ${threads}>;\n`).join("");
  const kept = stages.flatMap((stage) => stage.keeps);
  const lines = [
    `if (group >= ${Math.ceil(count / rows)}u) { return; }`,
    across ? `let lane = thread / ${rows}u;` : `let lane = thread % ${lanes}u;`,
    `let first = thread - lane * ${stride}u;`,
    `let at = ${whole ? "" : "min("}group * ${rows}u + ${across ? `thread % ${rows}u` : `thread / ${lanes}u`}${whole ? "" : `, ${count - 1}u)`};`,
    ...split("at", kernel.extents, axisNames(kernel)),
    ...reductions.map((r, k) => `var r${k} = ${literal(identity(r), r.value.dtype, functions)};`),
    ...kept.flatMap((node, n) =>
      Array.from(
        { length: chunks! },
        (_, c) => `var k${n}_${c}: ${width === 4 ? `vec4<${registerType(node.dtype)}>` : registerType(node.dtype)};`,
      ),
    ),
  ];
  let points = "";
  stages.forEach((stage, s) => {
    const { functionText, body } = stageText(stage, s, kept, context);
    points += functionText;
    lines.push("{", ...body.map((line) => `  ${line}`), "}");
    if (stage.reductions.length === 0) return;
    lines.push(
      ...stage.reductions.map((k) => `shared${k}[thread] = r${k};`),
      "workgroupBarrier();",
      // Two levels need two barriers, a binary tree needs many.
      ...(lanes > heads
        ? [
            `if (lane < ${heads}u) {`,
            ...Array.from({ length: lanes / heads - 1 }, (_, n) =>
              stage.reductions.map(
                (k) => `  r${k} = ${text(k, `r${k}`, `shared${k}[thread + ${(n + 1) * heads * stride}u]`)};`,
              ),
            ).flat(),
            ...stage.reductions.map((k) => `  shared${k}[thread] = r${k};`),
            "}",
            "workgroupBarrier();",
          ]
        : []),
      ...stage.reductions.map((k) => `r${k} = shared${k}[first];`),
      ...Array.from({ length: heads - 1 }, (_, n) =>
        stage.reductions.map((k) => `r${k} = ${text(k, `r${k}`, `shared${k}[first + ${(n + 1) * stride}u]`)};`),
      ).flat(),
    );
  });
  const single = kernel.outputs.flatMap((o, k) => (o.index ? [] : [[o, k] as const]));
  if (single.length > 0) {
    const inner: string[] = [];
    const values = writeValues(
      single.map(([o]) => o.value),
      rowSurroundings(context),
      inner,
    );
    single.forEach(([{ dtype }, k], n) => inner.push(`y${k}[at] = ${toMemory(dtype, values[n]!)};`));
    lines.push(
      `if (${["(lane == 0u)", ...(whole ? [] : [inside(context)])].join(" & ")}) {`,
      ...inner.map((line) => `  ${line}`),
      "}",
    );
  }
  return shared + points + entryPoint(threads, lines.join("\n"));
}

/** Whether the thread's row exists. */
const inside = ({ kernel, arrangement: { lanes, rows, across } }: Context): string =>
  `(group * ${rows}u + ${across ? `thread % ${rows}u` : `thread / ${lanes}u`} < ${product(kernel.extents)}u)`;

const readFrom =
  ({ kernel }: Context) =>
  (input: number, index: string): string =>
    fromMemory(kernel.inputs[input]!.dtype, `x${input}[${index}]`);

/** For what does not vary along the row: the results of reductions are in their accumulators. */
const rowSurroundings = (context: Context): Surroundings => ({
  axes: [...context.kernel.extents.map((_, k) => `i${k}`), ...context.kernel.reduceExtents.map(() => "0")],
  functions: context.functions,
  reduced: context.kernel.reductions.map((_, k) => `r${k}`),
  loaded: () => undefined,
  read: readFrom(context),
});

/** A function that computes a stage's values at a point, and the statements that call it for all points of the thread. */
function stageText(
  stage: RowStage,
  s: number,
  kept: readonly Scalar[],
  context: Context,
): { functionText: string; body: string[] } {
  const {
    kernel,
    arrangement: { lanes, rows, width },
    vectors,
    names,
    functions,
    chunks,
  } = context;
  const axes = axisNames(kernel);
  const varies = variesAlongRow(kernel);
  const isVectorLoad = new Set<Scalar>(vectors);
  // What the function is given: kept values of earlier stages, vectors' elements, and values equal in the whole row.
  const before = new Set(stage.uses);
  const keptHere: number[] = [];
  const loads: Load[] = [];
  const uniform: Scalar[] = [];
  const given = new Map<Scalar, string>();
  const sameLoad = new Map<string, string>();
  const visit = (node: Scalar): void => {
    if (given.has(node) || node.op === "constant" || node.op === "position") return;
    if (before.has(node)) given.set(node, `k${keptHere.push(kept.indexOf(node)) - 1}`);
    else if (!varies(node)) given.set(node, `u${uniform.push(node) - 1}`);
    else if (isVectorLoad.has(node)) {
      const load = node as Load;
      const key = `${load.input}:${affineText(load.index, axes)}`;
      const name = sameLoad.get(key) ?? `a${loads.push(load) - 1}`;
      sameLoad.set(key, name);
      given.set(node, name);
    } else {
      if (visited.has(node)) return;
      visited.add(node);
      parts(node).forEach(visit);
    }
  };
  const visited = new Set<Scalar>();
  const values = [...stageValues(kernel, stage), ...stage.keeps];
  values.forEach(visit);

  const lines: string[] = [];
  const around: Surroundings = {
    axes,
    functions,
    reduced: [],
    loaded: () => undefined,
    given: (node) => given.get(node),
    read: readFrom(context),
  };
  const results = writeValues(values, around, lines);
  const parameter =
    (letter: string) =>
    ({ dtype }: Scalar, k: number): string =>
      `${letter}${k}: ${registerType(dtype)}`;
  const parameters = [
    ...axes.map((name) => `${name}: i32`),
    ...keptHere.map((n, k) => parameter("k")(kept[n]!, k)),
    ...uniform.map(parameter("u")),
    ...loads.map(parameter("a")),
  ];
  const functionText = `struct Point${s} { ${values.map((node, k) => `v${k}: ${registerType(node.dtype)}`).join(", ")} }
fn point${s}(${parameters.join(", ")}) -> Point${s} {
${indent([...lines, `return Point${s}(${results.join(", ")});`].join("\n"))}
}
`;

  const body: string[] = [];
  const uniformNames = writeValues(uniform, rowSurroundings(context), body).map((value, k) => {
    body.push(`let u${k}_ = ${value};`);
    return `u${k}_`;
  });
  const element = (name: string, w: number): string => (width === 4 ? `${name}[${w}]` : name);
  const chunk = (c: number): string[] => {
    const list = split("j", kernel.reduceExtents, axes.slice(kernel.extents.length));
    loads.forEach((load, k) => list.push(`let a${k} = x${load.input}[${affineText(load.index, axes)} / 4];`));
    for (let w = 0; w < width; w++) {
      const place = axes.map((name, k) => (k === axes.length - 1 && w > 0 ? `${name} + ${w}` : name));
      const known = [
        ...keptHere.map((n) => element(`k${n}_${c}`, w)),
        ...uniformNames,
        ...loads.map((load, k) => fromMemory(kernel.inputs[load.input]!.dtype, `a${k}[${w}]`)),
      ];
      list.push(`let p${w} = point${s}(${[...place, ...known].join(", ")});`);
      stage.reductions.forEach((k, n) => {
        const { combine, value } = kernel.reductions[k] as Reduction;
        list.push(`r${k} = ${combineText(combine, value.dtype, `r${k}`, `p${w}.v${n}`, functions)};`);
      });
    }
    const all = (n: number, dtype: Output["dtype"], memory: boolean): string => {
      const each = Array.from({ length: width }, (_, w) => (memory ? toMemory(dtype, `p${w}.v${n}`) : `p${w}.v${n}`));
      return width === 4 ? `vec4<${memory ? memoryType(dtype) : registerType(dtype)}>(${each.join(", ")})` : each[0]!;
    };
    stage.outputs.forEach((k, m) => {
      const { dtype, index } = kernel.outputs[k]!;
      const n = stage.reductions.length + m;
      const to = affineText(index!, axes);
      if (names.wide[k]) list.push(`y${k}[${to} / 4] = ${all(n, dtype, true)};`);
      else
        for (let w = 0; w < width; w++)
          list.push(`y${k}[${to} + ${w * index!.coefficients.at(-1)!}] = ${toMemory(dtype, `p${w}.v${n}`)};`);
    });
    stage.keeps.forEach((node, m) =>
      list.push(
        `k${kept.indexOf(node)}_${c} = ${all(stage.reductions.length + stage.outputs.length + m, node.dtype, false)};`,
      ),
    );
    return list.map((line) => `  ${line}`);
  };
  const length = product(kernel.reduceExtents);
  // Rows beyond the last are computed twice over and stored once: by the thread whose row it is.
  const stores = stage.outputs.length > 0 && product(kernel.extents) % rows !== 0 ? ` & ${inside(context)}` : "";
  if (chunks === undefined)
    body.push(`for (var j = lane * ${width}u; (j < ${length}u)${stores}; j += ${lanes * width}u) {`, ...chunk(0), "}");
  else
    for (let c = 0; c < chunks; c++) {
      const start = c * lanes * width;
      const open =
        start + lanes * width <= length && stores === ""
          ? "{"
          : `if ((lane * ${width}u + ${start}u < ${length}u)${stores}) {`;
      body.push(open, `  let j = lane * ${width}u + ${start}u;`, ...chunk(c), "}");
    }
  return { functionText, body };
}
