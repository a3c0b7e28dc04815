/**
 * The texts that bring an operand's slices from memory to registers and on, as f16, to workgroup memory. On their way they are
 * multiplied by a power of two, which changes no digit and keeps them within f16. What suits is known from the passes before
 * (`magnitudes.ts`); else it is what suits the first slice, and the largest numbers are kept track of. Where one of them turns out too large, or all of them too small, all products of the tile are
 * taken again with the scale that suits: so the order of slices is such that weights become smaller.
 */
import { indent } from "@seqmix/tensor/wgsl";
import { FRAGMENT, type FragmentTexts } from "@seqmix/tensor/wgsl";
import { PADDING, VECTOR } from "../../matmul/operand-texts.js";
import { matrixThreads, type MatrixTile, type OperandText, type Phase } from "./tile.js";

/** Vectors of eight from one row of a slice to the next, and those of a slice. */
export const pitchOf = (row: number): number => (row + PADDING) / VECTOR;
export const sliceVectors = (lines: number, depth: number, along: OperandText["along"]): number =>
  along === "depth" ? lines * pitchOf(depth) : depth * pitchOf(lines);

export interface SliceTexts {
  /** Declares places, registers and factors. */
  readonly head: string;
  /** Reads the slice that begins at depth `next`. */
  readonly load: string;
  /** What becomes of the values; the largest of them so far is `aLargest` or `bLargest`. */
  readonly change: string;
  readonly store: string;
  /**
   * The first vector of a fragment: of high (0) or low (1) parts, at a step along the depth and a line of the tile; in blocks, a
   * line of the block, and counted from its start.
   */
  fragmentAt(part: number, step: number, line: number): number;
  /** In blocks: the first of a part. */
  firstBlock(part: number): number;
  readonly pitch: number;
  readonly alongDepth: boolean;
}

/** @param places Where slices of high parts and, perhaps, of low parts begin in workgroup memory; in blocks, the first of them. */
export function sliceTexts(
  operand: "a" | "b",
  { along, load, change, factors, weight, times, raw, measured, lines: within }: OperandText,
  tile: MatrixTile,
  places: readonly number[],
  /** Whether the largest number is kept track of. */
  tracked = true,
): SliceTexts {
  const lines = operand === "a" ? tile.rows : tile.columns;
  const { depth } = tile;
  const threads = matrixThreads(tile);
  const alongDepth = along === "depth";
  const units = (lines * depth) / VECTOR;
  const inRow = (alongDepth ? depth : lines) / VECTOR;
  const block = tile.inBlocks ? tile.block[operand === "a" ? "rows" : "columns"] : undefined;
  const pitch = pitchOf(alongDepth ? depth : (block ?? lines));
  const some = Array.from({ length: Math.ceil(units / threads) }, (_, q) => q);
  const name = (part: string, q: number): string => `${operand}${part}${q}`;
  const only = (q: number, text: string): string =>
    (q + 1) * threads > units ? `if (lane + ${q * threads} < ${units}) {\n${indent(text)}\n}` : text;
  const each = (text: (q: number) => string): string => some.map((q) => only(q, text(q))).join("\n");
  const registers = (q: number): string[] => [`${name("Read", q)}_0`, `${name("Read", q)}_1`];
  /** Four neighbours: the line and depth that they begin at, as `load` and `change` count them. */
  const place = (q: number, half: number, base: string): [string, string] =>
    alongDepth
      ? [name("Row", q), `(${base} / 4 + 2 * ${name("Column", q)}${half === 0 ? "" : " + 1"})`]
      : [`(2 * ${name("Column", q)}${half === 0 ? "" : " + 1"})`, `(${base} + ${name("Row", q)})`];
  const factor = (q: number, half: number): string => (alongDepth ? name("Factor", q) : `${name("Factor", q)}_${half}`);
  const packed = (q: number): string => name("Raw", q);
  /** The block of a unit and its vector there, from those of the thread's first unit where the next is a whole number of rows on. */
  const placeInBlock = (q: number, each: number): string[] => {
    const [row, column] = [name("Row", q), name("Column", q)];
    const [to, of] = [`let ${name("To", q)} = `, `let ${name("Block", q)} = `];
    const rowsOn = (q * threads) / inRow;
    const first = (text: string): string => name(text, 0);
    if (!alongDepth) {
      const vectors = each / VECTOR;
      if (q > 0 && threads % inRow === 0)
        return [`${of}${first("Block")};`, `${to}${first("To")} + ${rowsOn * pitch};`];
      return [`${of}${column} / ${vectors};`, `${to}${row} * ${pitch} + ${column} % ${vectors};`];
    }
    if (q > 0 && threads % inRow === 0) {
      const rows = threads / inRow;
      if (each % rows === 0)
        return [
          `${of}${first("Block")} + ${Math.floor(rowsOn / each)};`,
          `${to}${first("To")} + ${(rowsOn % each) * pitch};`,
        ];
      if (rows % each === 0) return [`${of}${first("Block")} + ${rowsOn / each};`, `${to}${first("To")};`];
    }
    return [`${of}${row} / ${each};`, `${to}${row} % ${each} * ${pitch} + ${column};`];
  };
  const head = (q: number): string[] => {
    const e = q === 0 ? "lane" : `(lane + ${threads * q})`;
    const [row, column] = [name("Row", q), name("Column", q)];
    return [
      `let ${row} = ${e} / ${inRow};`,
      `let ${column} = ${e} % ${inRow};`,
      ...(block === undefined ? [] : placeInBlock(q, block)),
      ...(raw ? [`var ${packed(q)} = vec4<u32>();`] : registers(q).map((register) => `var ${register} = vec4<f32>();`)),
      ...(weight ? [`var ${name("Weight", q)} = 0.0;`] : []),
      ...(times ? [`var ${name("Times", q)} = mat2x4<f32>();`] : []),
      ...(factors
        ? alongDepth
          ? [`let ${factor(q, 0)} = vec4<f32>((${factors(`min(${row}, ${lines - 1}) / 4`)})[${row} % 4]);`]
          : [0, 1].map((half) => `let ${factor(q, half)} = ${factors(place(q, half, "0")[0])};`)
        : []),
    ];
  };
  const changed = (q: number): string => {
    const inside = within && `${alongDepth ? name("Row", q) : `8 * ${name("Column", q)}`} < ${within}`;
    if (raw)
      return [
        ...(inside ? [`${packed(q)} = select(vec4<u32>(), ${packed(q)}, ${inside});`] : []),
        ...(measured ? [`${operand}Measured = max(${operand}Measured, largestHalf(${packed(q)}));`] : []),
      ].join("\n");
    const [x, y] = registers(q) as [string, string];
    const own = measured
      ? [
          `${operand}Measured = max(${operand}Measured, largestFinite(${[x, y].map((register, half) => {
            const value = change?.(register, ...place(q, half, "begin"), false) ?? register;
            return inside ? `select(vec4<f32>(), ${value}, ${inside})` : value;
          })}));`,
        ]
      : [];
    const texts = [x, y].flatMap((register, half) => {
      const value = change?.(register, ...place(q, half, "begin"), false) ?? register;
      const factorsHere = factor(q, half);
      const multiplied = weight
        ? `timesFactors(${value}, vec4<f32>(${name("Weight", q)}))`
        : times
          ? `timesFactors(${value}, ${name("Times", q)}[${half}])`
          : factors
            ? `timesFactors(${value}, ${factorsHere})`
            : value;
      const kept = inside ? `select(vec4<f32>(), ${multiplied}, ${inside})` : multiplied;
      return kept === register ? [] : [`${register} = ${kept};`];
    });
    const largest = tracked ? [`${operand}Largest = max(${operand}Largest, largestOf(${x}, ${y}));`] : [];
    return [...own, ...texts, ...largest].join("\n");
  };
  const written = (q: number): string => {
    const [x, y] = registers(q);
    const to = (part: number): string => {
      const place = places[part]! > 0 ? `${places[part]} + ` : "";
      return block === undefined
        ? `tiles[${place}${name("Row", q)} * ${pitch} + ${name("Column", q)}]`
        : `tiles[${place}${name("Block", q)}][${name("To", q)}]`;
    };
    if (raw) return `${to(0)} = ${packed(q)};`;
    if (places.length === 1) return `${to(0)} = pack8(${x} * ${operand}Scale, ${y} * ${operand}Scale);`;
    return `{
  let x = ${x} * ${operand}Scale;
  let y = ${y} * ${operand}Scale;
  let u = highPart(x);
  let v = highPart(y);
  ${to(0)} = pack8(u, v);
  ${to(1)} = pack8(x - u, y - v);
}`;
  };
  return {
    head: some.flatMap(head).join("\n"),
    load: each((q) =>
      [
        ...(raw
          ? [`${packed(q)} = vec4<u32>(${[0, 1].map((half) => raw.load(...place(q, half, "next"))).join(", ")});`]
          : registers(q).map((register, half) => `${register} = ${load(...place(q, half, "next"))};`)),
        ...(weight ? [`${name("Weight", q)} = ${weight(...place(q, 0, "next"))};`] : []),
        ...(times ? [`${name("Times", q)} = ${times(...place(q, 0, "next"))};`] : []),
      ].join("\n"),
    ),
    change: each(changed),
    store: each(written),
    fragmentAt: (part, step, line) =>
      (block === undefined ? places[part]! : 0) +
      (alongDepth ? line * pitch + (step * FRAGMENT) / VECTOR : step * FRAGMENT * pitch + line / VECTOR),
    firstBlock: (part) => places[part]!,
    pitch,
    alongDepth,
  };
}

/** Exponents of a scaled number, as they stand in the bits of both: of the first slice's largest, and of what is taken. */
const FIRST = 127 + 127 + 8,
  AIM = 127 + 127 + 13,
  LEAST = 127 + 127 + 2,
  MOST = 127 + 127 + 14;
/** Powers of two by which the sums of one product may grow for the next. */
const GROWTH = 64;

const reporters = (tile: MatrixTile, fragments: FragmentTexts): number =>
  (matrixThreads(tile) / 32) * fragments.reporters;

/** Workgroup memory for the largest numbers, by phase, and functions. */
export const scalesModule = (tile: MatrixTile, fragments: FragmentTexts, phases: number): string =>
  `var<workgroup> mosts: array<vec2<f32>, ${phases * reporters(tile, fragments)}>;
var<workgroup> again: u32;
fn largestOf(x: vec4<f32>, y: vec4<f32>) -> f32 {
  let z = max(abs(x), abs(y));
  return max(max(z.x, z.y), max(z.z, z.w));
}
fn mostOf(phase: i32) -> vec2<f32> {
  var most = mosts[phase * ${reporters(tile, fragments)}];
  for (var n = 1; n < ${reporters(tile, fragments)}; n++) { most = max(most, mosts[phase * ${reporters(tile, fragments)} + n]); }
  return most;
}
// of those that are numbers
fn largestFinite(x: vec4<f32>, y: vec4<f32>) -> f32 {
  let limit = vec4<f32>(3.4e38);
  return largestOf(select(vec4<f32>(), x, abs(x) <= limit), select(vec4<f32>(), y, abs(y) <= limit));
}
fn largestHalf(x: vec4<u32>) -> f32 {
  let most = max(x & vec4<u32>(0x7fffu), (x >> vec4<u32>(16u)) & vec4<u32>(0x7fffu));
  return unpack2x16float(max(max(most.x, most.y), max(most.z, most.w))).x;
}
fn exponentsOf(most: vec2<f32>) -> vec2<i32> { return vec2<i32>(bitcast<vec2<u32>>(most) >> vec2<u32>(23u)); }
fn scalesFor(most: vec2<f32>, aim: i32) -> vec2<i32> { return clamp(vec2<i32>(aim) - exponentsOf(most), vec2<i32>(1), vec2<i32>(253)); }
`;

/** Tells the others what is largest; a barrier must follow. */
export function reportLargest(tile: MatrixTile, { reporters: each, largest }: FragmentTexts, phase: number): string {
  const all = (matrixThreads(tile) / 32) * each;
  const told = "vec2<f32>(aMost, bMost)";
  return `let aMost = ${largest("aLargest")};
let bMost = ${largest("bLargest")};
${each === 1 ? `if (lane % 32 == 0) { mosts[${phase * all} + lane / 32] = ${told}; }` : `mosts[${phase * all} + lane] = ${told};`}`;
}

/** Tells what was measured beside; a barrier must follow. */
export function reportMeasured(tile: MatrixTile, { reporters: each, largest }: FragmentTexts, phases: number): string {
  const all = (matrixThreads(tile) / 32) * each;
  const told = `vec2<f32>(${largest("aMeasured")}, ${largest("bMeasured")})`;
  return each === 1
    ? `let toldMost = ${told};\nif (lane % 32 == 0) { mosts[${phases * all} + lane / 32] = toldMost; }`
    : `mosts[${phases * all} + lane] = ${told};`;
}

/**
 * Scales that are known beforehand: those of all phases must have the same product, so one operand has less than it might. Where
 * a phase copies both operands, the sums are changed behind it; one whose sums are of no other phase has its own.
 */
export const knownScales = (phases: readonly Phase[]): string => {
  const products = phases.flatMap(({ fixed, alone }, k) =>
    alone ? [] : [`known${k}.x + known${k}.y${fixed ? ` + ${GROWTH}` : ""}`],
  );
  return `${phases.map(({ known }, k) => `let known${k} = vec2<i32>(${known!.a}, ${known!.b});`).join("\n")}
let total = ${products.reduce((x, y) => `min(${x}, ${y})`)};`;
};
/** Behind a phase whose operands are copied. */
export const sumsAfterCopies = (fragments: FragmentTexts, names: readonly string[], k: number): string =>
  `let ofCopies = bitcast<f32>(clamp(127 + total - known${k}.x - known${k}.y, 0, 254) << 23u);
${names.map((name) => `${name} = ${fragments.scale(name, "ofCopies")};`).join("\n")}`;
export const ownScales = (
  k: number,
  alone = false,
): string => `${alone ? `let total = known${k}.x + known${k}.y;\n` : ""}let aExponent = total - known${k}.y;
// where it is below all numbers, products are too small to be seen beside the others
let aScale = select(bitcast<f32>(aExponent << 23u), 0.0, aExponent < 1);
let bScale = bitcast<f32>(known${k}.y << 23u);`;

/** What is known of the scales of operands that are copied. */
const rawScales = ({ a, b }: Pick<Phase, "a" | "b">, k: number): string =>
  [...(a.raw ? [`known${k}.x = ${a.raw.exponent};`] : []), ...(b.raw ? [`known${k}.y = ${b.raw.exponent};`] : [])].join(
    "\n",
  );

/** Scales of a phase from its first slice; at the second attempt from all of them. The sums of the phase before are changed with them. */
export function firstScales(
  tile: MatrixTile,
  fragments: FragmentTexts,
  names: readonly string[],
  operands: Pick<Phase, "a" | "b">,
  phase: number,
  /** Whether there are no sums of phases before. */
  first: boolean,
): string {
  return `if (attempt == 0) {
${indent(reportLargest(tile, fragments, phase))}
  workgroupBarrier();
  known${phase} = scalesFor(mostOf(${phase}), ${FIRST});
}
${rawScales(operands, phase)}
${
  first
    ? `scales = known${phase};`
    : `var now = known${phase};
now.x = max(now.x - max(now.x + now.y - scales.x - scales.y - ${GROWTH}, 0), 1);
let by = bitcast<f32>(clamp(127 + now.x + now.y - scales.x - scales.y, 0, 254) << 23u);
scales = now;
${names.map((name) => `${name} = ${fragments.scale(name, "by")};`).join("\n")}`
}
aScale = bitcast<f32>(scales.x << 23u);
bScale = bitcast<f32>(scales.y << 23u);`;
}

/** Whether the scales were right; else what they should be. All threads have told what is largest. */
export const judgeScales = (phases: number): string => `if (attempt == 0) {
  if (lane == 0) { again = 0u; }
  workgroupBarrier();
  var right = true;
${Array.from(
  { length: phases },
  (_, k) => `  {
    let most = mostOf(${k});
    let found = exponentsOf(most) + known${k};
    right &= all((found <= vec2<i32>(${MOST})) & ((found >= vec2<i32>(${LEAST})) | (most == vec2<f32>())));
    known${k} = scalesFor(most, ${AIM});
  }`,
).join("\n")}
  if ((lane == 0) & !right) { again = 1u; }
  if (workgroupUniformLoad(&again) == 0u) { break; }
}`;
