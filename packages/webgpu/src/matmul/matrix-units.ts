/** Matrix products on matrix units: when they are possible and worth while, with which tiles, and into how many parts k is divided. */
import { product, type Epilogue, type MatmulSpec } from "@seqmix/tensor/backend";
import {
  bytesOf,
  matrixUnits,
  type GpuLimits,
  type GpuPass,
  type GpuProgram,
  type GpuParameters,
} from "@seqmix/tensor/wgsl";
import { runTogether } from "../loops/together.js";
import { chooseTile, DISPATCHES, LONGEST_SUM, COPYING, type Choice, type TileOptions } from "./choose-tile.js";
import type { MatrixUnitCode, MatrixUnitTile, Terms } from "./matrix-unit-form.js";
import { matrixUnitCode } from "./matrix-unit-text.js";
import { PACKED, type OperandReading } from "./operand-texts.js";
import { operandsOf, type OperandRead } from "./operands.js";
import {
  packedBytes,
  packingOf,
  packPass,
  partVectors,
  scaleBytes,
  sizeBytes,
  sizesPass,
  type Packing,
} from "./packing.js";
import { epilogueCode, epilogueLength, OWN_KERNEL, partsOf, storedAs, sumOfParts } from "./program.js";
import { largestProgram, linesOf } from "./scaling.js";
import { transposed } from "./transposing.js";

interface MatrixUnitOptions extends TileOptions {
  /** Multiply-adds from which the kernel is compiled for the shape alone. */
  readonly ownKernel?: number;
  /** Whether f16 operands that lie along k are copied first; where that is faster by default. */
  readonly transposes?: boolean | undefined;
}

/**
 * Its buffers: both operands, the epilogue's inputs, the result.
 * @returns undefined where other tiles have to do it, or are faster.
 */
export function matrixUnitProgram(
  shape: MatmulSpec,
  limits: GpuLimits,
  epilogue?: Epilogue,
  options: MatrixUnitOptions = {},
): GpuProgram | undefined {
  if (!limits.matrixUnits || product(shape.batch) * shape.m * shape.n * shape.k === 0) return undefined;
  return transposedProgram(shape, limits, epilogue, options) ?? programOf(shape, limits, epilogue, options);
}

/** Of f16 operands, copies first that do not lie along k; undefined where they are not worth it. */
function transposedProgram(
  shape: MatmulSpec,
  limits: GpuLimits,
  epilogue: Epilogue | undefined,
  options: MatrixUnitOptions,
): GpuProgram | undefined {
  if (shape.operands !== "f16") return undefined;
  const time = (spec: MatmulSpec): number => {
    const [a, b] = operandsOf(spec);
    return (a && b && chooseTile(spec, 1, a.reading, b.reading, limits, epilogue, options)?.time) ?? Infinity;
  };
  const along = (["a", "b"] as const).filter((_, operand) => operandsOf(shape)[operand]?.reading.alongDepth);
  const choices = [along, ...along.map((name) => [name])]
    .filter((names) => names.length > 0)
    .map((names) => {
      const copies = names.map((name) => ({ name, ...transposed(shape, name) }));
      const spec = copies.reduce((whole, { name, operand }) => ({ ...whole, [name]: operand }), shape);
      const copying = copies.reduce((sum, { bytes }) => sum + DISPATCHES / 2 + (2 * bytes) / COPYING, 0);
      return { copies, spec, time: time(spec) + copying };
    });
  const best = choices.reduce<(typeof choices)[number] | undefined>(
    (x, y) => (x && x.time <= y.time ? x : y),
    undefined,
  );
  if (!best || !(options.transposes ?? best.time < time(shape))) return undefined;
  const program = programOf(best.spec, limits, epilogue, options);
  if (!program) return undefined;
  const first = 3 + (epilogue?.inputs.length ?? 0) + program.scratch.length;
  const place = new Map(best.copies.map(({ name }, k) => [name === "a" ? 0 : 1, first + k]));
  return {
    name: `${program.name}, ${best.copies.length === 2 ? "both operands" : "an operand"} transposed first`,
    passes: [
      ...runTogether(
        best.copies.map(({ name, pass }, k) => numbered(pass, [name === "a" ? 0 : 1, first + k])),
        limits,
      ),
      ...program.passes.map((pass) => ({
        ...pass,
        buffers: pass.buffers.map((binding) => ({ ...binding, buffer: place.get(binding.buffer) ?? binding.buffer })),
      })),
    ],
    scratch: [...program.scratch, ...best.copies.map(({ bytes }) => bytes)],
    ...(program.parts !== undefined && { parts: program.parts }),
  };
}

/** A product, and what was decided about it. */
interface Decided {
  readonly shape: MatmulSpec;
  readonly epilogue: Epilogue | undefined;
  readonly batches: number;
  readonly terms: Terms;
  readonly choice: Choice;
  readonly operands: Readonly<Record<"a" | "b", OperandRead>>;
  /** How both are packed first, if they are. */
  readonly packings: Readonly<Record<"a" | "b", Packing>> | undefined;
  /** Of f32 operands, the lines that have scales of their own. */
  readonly lines: Readonly<Record<"a" | "b", ReturnType<typeof linesOf>>> | undefined;
}

function decide(
  shape: MatmulSpec,
  limits: GpuLimits,
  epilogue: Epilogue | undefined,
  options: TileOptions,
): Decided | undefined {
  const stored = shape.operands ?? "f32";
  const terms: Terms = stored === "f32" && limits.products !== "tf32" ? 3 : 1;
  const [a, b] = operandsOf(shape);
  const more = epilogue?.inputs.length ?? 0;
  if (!a || !b || more + (stored === "f32" ? 5 : 3) > limits.buffers) return undefined;
  const choice = chooseTile(shape, terms, a.reading, b.reading, limits, epilogue, options);
  if (!choice) return undefined;
  const packing = (name: "a" | "b"): Packing => packingOf(shape, name, terms, choice.tile.depth);
  const packings = choice.how === "packed" ? { a: packing("a"), b: packing("b") } : undefined;
  const lines =
    stored === "f32"
      ? { a: linesOf(shape, "a", packings?.a.lines), b: linesOf(shape, "b", packings?.b.lines) }
      : undefined;
  return { shape, epilogue, batches: product(shape.batch), terms, choice, operands: { a, b }, packings, lines };
}

function programOf(
  shape: MatmulSpec,
  limits: GpuLimits,
  epilogue: Epilogue | undefined,
  { ownKernel = OWN_KERNEL, tiles, how }: MatrixUnitOptions,
): GpuProgram | undefined {
  const decided = decide(shape, limits, epilogue, { tiles, how });
  if (!decided) return undefined;
  const { batches, choice } = decided;
  const { m, n, k } = shape;
  const { parts } = choice;
  const extra = epilogue?.inputs.map((_, q) => 2 + q) ?? [];
  const result = 2 + extra.length;
  // Scratch: the partial products, then the largest sizes of both operands and what finding them takes.
  const partial = parts > 1 ? [bytesOf(batches * m * n * parts)] : [];
  const prepared = preparation(decided, limits, result + 1 + partial.length);
  const code = codeOf(decided, limits);
  const parameters = parametersOf(decided);
  const fixed = batches * m * n * k >= ownKernel;
  const text = matrixUnitCode(code, fixed ? {} : parameters);
  const tilePass: GpuPass = {
    code: fixed ? text.replace(/\bp\.(\w+)/g, (_, parameter: string) => String(parameters[parameter])) : text,
    buffers: [
      ...(prepared?.operands ?? [0, 1]).map((buffer) => ({ buffer, access: "read" }) as const),
      { buffer: parts > 1 ? result + 1 : result, access: "read_write" },
      ...(code.epilogue ? extra.map((buffer) => ({ buffer, access: "read" }) as const) : []),
      ...(prepared?.further.map((buffer) => ({ buffer, access: "read" }) as const) ?? []),
    ],
    ...(!fixed && { parameters }),
    groups: batches * parameters.rows! * parameters.columns! * parts,
  };
  return {
    name: nameOf(decided),
    passes: [
      ...(prepared?.passes ?? []),
      tilePass,
      ...(parts > 1 ? [sumOfParts(batches * m * n, parts, epilogue, extra, result + 1, result)] : []),
    ],
    scratch: [...partial, ...(prepared?.scratch ?? [])],
    ...partsOf(parts, epilogue),
  };
}

function nameOf({ shape, epilogue, batches, terms, choice: { tile, parts }, packings }: Decided): string {
  const { m, n, k, operands } = shape;
  const kind = operands === "f16" ? "" : terms === 1 ? " of tf32" : " of f32 in two parts";
  return [
    `matmul ${batches > 1 ? `${batches} x ` : ""}${m}x${n}x${k}, ${tile.rows}x${tile.columns}x${tile.depth} tiles${kind} on matrix units`,
    epilogue ? `, then ${epilogueLength(epilogue)}` : "",
    parts === 1 ? "" : `, k in ${parts} parts`,
    packings ? ", both operands packed first" : "",
  ].join("");
}

function parametersOf({ shape, batches, choice, operands: { a, b }, packings, lines }: Decided): GpuParameters {
  const { batch, m, n, k } = shape;
  const { tile, slice, parts } = choice;
  return {
    m,
    n,
    k,
    slice,
    parts,
    batches,
    rows: Math.ceil(m / tile.rows),
    columns: Math.ceil(n / tile.columns),
    ...a.parameters,
    ...b.parameters,
    ...lines?.a.parameters,
    ...lines?.b.parameters,
    ...(packings && {
      ...packedParameters(shape, packings.a, a.parameters),
      ...packedParameters(shape, packings.b, b.parameters),
    }),
    ...Object.fromEntries(batch.map((extent, axis) => [`batch${axis}`, extent])),
  };
}

function codeOf(
  { shape, epilogue, terms, choice, operands: { a, b }, packings }: Decided,
  limits: GpuLimits,
): MatrixUnitCode {
  const { batch, n, k } = shape;
  const { tile, slice, parts } = choice;
  const found = choice.how === "found";
  const own = epilogue && parts === 1 ? epilogueCode(epilogue, n % 4 === 0) : undefined;
  // Memory that an epilogue reads may be the result's own: there k is in parts.
  const stretch = terms === 3 && slice > LONGEST_SUM && !epilogue ? LONGEST_SUM : undefined;
  const direct = (!packings && !found) || own || stretch !== undefined ? "never" : directness(shape, tile);
  return {
    tile,
    fragments: limits.fragments ?? matrixUnits,
    ...(packings
      ? { a: PACKED, b: PACKED, packed: packings, sources: { a: a.reading, b: b.reading } }
      : { a: a.reading, b: b.reading }),
    terms,
    found,
    batchAxes: batch.length,
    ragged: !packings && k % tile.depth !== 0,
    direct,
    storesVectors: direct === "never" && n % 4 === 0,
    ...(stretch !== undefined && { stretch }),
    result: parts === 1 ? storedAs(epilogue) : "f32",
    ...(own && { epilogue: own }),
  };
}

/** Fragments are stored whole where their rows begin at multiples of 16 bytes, and the result has room for one. */
function directness({ m, n }: MatmulSpec, tile: MatrixUnitTile): MatrixUnitCode["direct"] {
  if (n % 4 !== 0 || m < tile.rows || n < tile.columns) return "never";
  return m % tile.rows === 0 && n % tile.columns === 0 ? "always" : "inside";
}

interface Preparation {
  readonly passes: readonly GpuPass[];
  /** Buffers that tiles read operands from. */
  readonly operands: readonly number[];
  /** What else tiles read. */
  readonly further: readonly number[];
  readonly scratch: readonly number[];
}

/** What comes before the tiles, on scratch from buffer `first` on; undefined where nothing does. */
function preparation(
  { shape, choice, operands: { a, b }, packings, lines }: Decided,
  limits: GpuLimits,
  first: number,
): Preparation | undefined {
  if (packings) return packPasses(shape, limits, first, { a: a.reading, b: b.reading }, packings);
  return lines && choice.how !== "found" ? scalePasses(shape, limits, first, lines) : undefined;
}

/** A pass on other buffers. */
const numbered = (pass: GpuPass, own: readonly number[]): GpuPass => ({
  ...pass,
  buffers: pass.buffers.map((binding) => ({ ...binding, buffer: own[binding.buffer]! })),
});

/** The passes that pack both operands; scratch begins at buffer `first`. */
function packPasses(
  shape: MatmulSpec,
  limits: GpuLimits,
  first: number,
  readings: Readonly<Record<"a" | "b", OperandReading>>,
  packings: Readonly<Record<"a" | "b", Packing>>,
): Preparation {
  const both = (["a", "b"] as const).map((name, operand) => {
    const [reading, packing] = [readings[name], packings[name]];
    const [sizes, packed, scales] = [0, 1, 2].map((k) => first + 3 * operand + k) as [number, number, number];
    return {
      sizes: numbered(sizesPass(shape, reading, packing), [operand, sizes]),
      pack: numbered(packPass(shape, reading, packing), [operand, sizes, packed, scales]),
      scratch: [sizeBytes(shape, packing), packedBytes(packing), scaleBytes(packing)],
    };
  });
  return {
    passes: [
      ...runTogether(
        both.map(({ sizes }) => sizes),
        limits,
      ),
      ...runTogether(
        both.map(({ pack }) => pack),
        limits,
      ),
    ],
    operands: [first + 1, first + 4],
    further: [first + 2, first + 5, 0, 1],
    scratch: both.flatMap(({ scratch }) => scratch),
  };
}

/** The passes that find the largest sizes in the lines of both operands; scratch begins at buffer `first`. */
function scalePasses(
  shape: MatmulSpec,
  limits: GpuLimits,
  first: number,
  lines: Readonly<Record<"a" | "b", { readonly size: number }>>,
): Preparation {
  const sizes = [first, first + 1] as const;
  const scratch = [bytesOf(lines.a.size), bytesOf(lines.b.size)];
  const passes = (["a", "b"] as const).flatMap((name, operand) => {
    const found = largestProgram(shape, name, limits);
    const own = [operand, sizes[operand]!, ...found.scratch.map((bytes) => first + scratch.push(bytes) - 1)];
    return found.passes.map((pass) => numbered(pass, own));
  });
  return { passes, operands: [0, 1], further: sizes, scratch };
}

/** Where the parts of a packed operand are, in vectors; and what was known of it before, under another name. */
function packedParameters(
  shape: MatmulSpec,
  { name, lines, depth, elements, ...packing }: Packing,
  source: GpuParameters,
): GpuParameters {
  const own = linesOf(shape, name, (lines * depth) / 8).parameters;
  return {
    ...Object.fromEntries(Object.entries(source).map(([key, value]) => [`${name}Source${key.slice(1)}`, value])),
    [`${name}Offset`]: 0,
    [`${name}Line`]: 1,
    [`${name}Inner`]: lines / 8,
    [`${name}Low`]: partVectors({ name, lines, depth, elements, ...packing }),
    ...Object.fromEntries(shape.batch.map((_, axis) => [`${name}Batch${axis}`, own[`${name}Lines${axis}`]!])),
  };
}
