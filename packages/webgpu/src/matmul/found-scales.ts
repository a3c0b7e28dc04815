/**
 * Scales of f32 operands found on the way, so that each operand is read once. All lines of a tile (rows of A, columns of B)
 * are multiplied by one power of two, guessed from the first slice, and the largest size in each line is noted as slices
 * go by. Where a line turns out too large for f16, or too small to keep its digits, or to hold an infinity or NaN, the tile
 * is computed again, each line with the scale that is known for it then.
 */
import { scaleFunctions, splitFunctions } from "./scaling.js";
import { indent } from "@seqmix/tensor/wgsl";

/** An operand and what finding its scales takes. */
interface Finding {
  readonly operand: "a" | "b";
  readonly finding: FindingTexts;
}

export interface FindingTexts {
  /** Positions of the first slice. */
  readonly restart: string;
  /** The largest size in a slice that has been read, u32 bits. */
  readonly largest: string;
  /** Declares registers of scales and of largest sizes. */
  readonly begin: string;
  /** Tells workgroup memory the largest sizes. */
  readonly report: string;
}

/** Exponents that the sizes of lines may have once scaled: f16 ends at 2^16, and the smallest keeps its digits. */
const HIGHEST = 14,
  /** Of the largest number in the first slice. */
  GUESSED = 8;
const LOWEST: Readonly<Record<1 | 3, number>> = { 1: -3, 3: 0 };

/** Workgroup memory and functions. */
export const foundScalesFunctions = (
  rows: number,
  columns: number,
  terms: 1 | 3,
): string => `var<workgroup> aSizes: array<atomic<u32>, ${rows}>;
var<workgroup> bSizes: array<atomic<u32>, ${columns}>;
var<workgroup> aBits: array<i32, ${rows}>;
var<workgroup> bBits: array<i32, ${columns}>;
var<workgroup> largest: array<atomic<u32>, 2>;
var<workgroup> misfits: atomic<u32>;
${scaleFunctions}${splitFunctions}fn sizesOf(x: vec4<f32>) -> vec4<u32> { return bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu); }
fn largestOf(x: vec4<u32>) -> u32 { return max(max(x.x, x.y), max(x.z, x.w)); }
fn guessOf(size: u32) -> i32 {
  let exponent = i32(size >> 23u);
  return clamp(${254 + GUESSED} - select(exponent, 127, (exponent == 0) | (exponent == 255)), 1, 253);
}
fn bitsOf(size: u32) -> i32 {
  let exponent = i32(size >> 23u);
  return select(bitsFor(exponent), 0, exponent == 255);
}
fn fits(size: u32, bits: i32) -> bool {
  let exponent = i32(size >> 23u);
  let scaled = exponent + bits - 254;
  return (size == 0u) | ((exponent < 255) & (scaled >= ${LOWEST[terms]}) & (scaled <= ${HIGHEST}));
}
`;

/** Chooses the turn's scales, from what has been read of the first slice or what is known of lines. */
export function beginTurn(operands: readonly Finding[], lines: readonly number[], threads: number): string {
  const each = (text: (operand: "a" | "b", k: number) => string): string =>
    operands
      .map(({ operand }, k) => `for (var line = lane; line < ${lines[k]}; line += ${threads}) { ${text(operand, k)} }`)
      .join("\n");
  const first = `if (lane < 2) { atomicStore(&largest[lane], 0u); }
if (lane == 0) { atomicStore(&misfits, 0u); }
${each((operand) => `atomicStore(&${operand}Sizes[line], 0u);`)}
workgroupBarrier();
${operands
  .map(
    ({ finding }, k) => `{
  let size = ${finding.largest};
  atomicMax(&largest[${k}], select(size, 0u, size >= 0x7f800000u));
}`,
  )
  .join("\n")}
workgroupBarrier();
${each((operand, k) => `${operand}Bits[line] = guessOf(atomicLoad(&largest[${k}]));`)}`;
  return `if (turn == 0) {
${indent(first)}
} else {
${indent(each((operand) => `${operand}Bits[line] = bitsOf(atomicLoad(&${operand}Sizes[line]));`))}
}
workgroupBarrier();
${operands.map(({ finding }) => finding.begin).join("\n")}`;
}

/** Ends the turns where all lines fit. */
export function endTurn(operands: readonly Finding[], lines: readonly number[], threads: number): string {
  const looks = operands.map(({ operand }, k) => {
    const [first, limit] = operand === "a" ? ["firstRow", "p.m"] : ["firstColumn", "p.n"];
    return `for (var line = lane; line < min(${lines[k]}, ${limit} - ${first}); line += ${threads}) { misfit |= !fits(atomicLoad(&${operand}Sizes[line]), ${operand}Bits[line]); }`;
  });
  return `if (turn == 1) { break; }
${operands.map(({ finding }) => finding.report).join("\n")}
workgroupBarrier();
let inverse = 381 - aBits[0] - bBits[0];
var misfit = (inverse < 1) | (inverse > 254);
${looks.join("\n")}
if (misfit) { atomicStore(&misfits, 1u); }
sharesScales = workgroupUniformLoad(&misfits) == 0u;
if (sharesScales) { break; }`;
}

/** @param reads Of each vector of eight that a thread reads, its two registers and its place in the first slice. */
export function findingTexts(
  operand: "a" | "b",
  alongDepth: boolean,
  reads: readonly { readonly registers: readonly string[]; readonly position: string }[],
): FindingTexts {
  const name = (part: string, q: number): string => `${operand}${part}${q}`;
  const lineOf = (e: number): string => `${name("Column", 0)} * ${8} + ${e}`;
  const four = [0, 1, 2, 3];
  return {
    restart: reads.map(({ position }, q) => `${name("At", q)} = ${operand}Start + ${position};`).join("\n"),
    largest: `largestOf(${reads.flatMap(({ registers }) => registers.map((x) => `sizesOf(${x})`)).reduce((x, y) => `max(${x}, ${y})`)})`,
    begin: (alongDepth
      ? reads.flatMap((_, q) => [
          `let ${name("Scale", q)} = powerOf(${operand}Bits[${name("Row", q)}]);`,
          `var ${name("Most", q)} = 0u;`,
        ])
      : [0, 1].flatMap((half) => [
          `let ${operand}Scale_${half} = powersOf(vec4<i32>(${four.map((e) => `${operand}Bits[${lineOf(4 * half + e)}]`).join(", ")}));`,
          `var ${operand}Most_${half} = vec4<u32>();`,
        ])
    ).join("\n"),
    report: (alongDepth
      ? reads.map((_, q) => `atomicMax(&${operand}Sizes[${name("Row", q)}], ${name("Most", q)});`)
      : [0, 1].flatMap((half) =>
          four.map((e) => `atomicMax(&${operand}Sizes[${lineOf(4 * half + e)}], ${operand}Most_${half}[${e}]);`),
        )
    ).join("\n"),
  };
}
