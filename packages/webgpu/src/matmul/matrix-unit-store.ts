/** WGSL that stores the results of a tile on matrix units: whole fragments, or strips of them through workgroup memory. */
import { FRAGMENT, indent, type InBlock } from "@seqmix/tensor/wgsl";
import {
  blockFragments,
  layout,
  stripPitch,
  SUBGROUP,
  type MatrixUnitCode,
  type MatrixUnitTile,
} from "./matrix-unit-form.js";
import { BLOCK, type Packing } from "./packing.js";

/** Fragments to memory: at once, or a strip of the block's fragments at a time through workgroup memory. */
export function storeResults(code: MatrixUnitCode): string {
  const { tile, direct, fragments, a, stretch, packed, found = false } = code;
  const each = blockFragments(tile);
  const scaled = a.stored !== "f16";
  const whole = packed ? "evenScales" : found ? "sharesScales" : undefined;
  const { blockLength } = layout(code);
  const inStrip = (at: number): string | InBlock =>
    blockLength === undefined ? `u32(strip + ${at})` : { block: "u32(strip)", at, length: blockLength };
  const unscaled = (name: string, row: number, column: number): string =>
    fragments.scale(name, packed ? `powerOf(381 - aBits${row / FRAGMENT} - bBits${column / FRAGMENT})` : "inverse");
  const strips = Array.from({ length: tile.block.rows / FRAGMENT }, (_, i) => {
    const stores = each
      .filter(({ row }) => row === FRAGMENT * i)
      .map(({ name, column }) => fragments.store("tiles", inStrip(column / 4), name, `${stripPitch(tile)}u`));
    return `${stores.join("\n")}
workgroupBarrier();
storeStrip(start, firstRow + blockRow + ${FRAGMENT * i}, firstColumn + blockColumn, strip, lane % ${SUBGROUP}${scaled ? ", batch, part, aLines, bLines" : ""}${stretch === undefined ? "" : ", added"});
workgroupBarrier();`;
  });
  const singly = strips.join("\n");
  // Strips are unscaled element by element: fragments that are scaled before take twice as long.
  if (whole === undefined || direct === "never") return singly;
  const scales = packed ? fragmentScales(tile) : "let inverse = powerOf(381 - aBits[0] - bBits[0]);";
  const even = packed ? `${evenScales(code, packed)}\n` : "";
  const atOnce = each.map(({ name, row, column }) =>
    fragments.store(
      "c",
      `u32(start + (firstRow + blockRow + ${row}) * p.n + firstColumn + blockColumn + ${column})`,
      unscaled(name, row, column),
      "u32(p.n)",
    ),
  );
  const inside =
    direct === "inside" ? `(firstRow + ${tile.rows} <= p.m) & (firstColumn + ${tile.columns} <= p.n) & ` : "";
  return `${even}if (${inside}${whole}) {\n${indent([scales, ...atOnce].join("\n"))}\n} else {\n${indent(singly)}\n}`;
}

/** Whether every fragment of the tile has one scale, and its inverse is a number. */
function evenScales({ tile }: MatrixUnitCode, packed: Readonly<Record<"a" | "b", Packing>>): string {
  const look = (operand: "a" | "b"): string => {
    const [lines, first] = operand === "a" ? [tile.rows, "firstRow"] : [tile.columns, "firstColumn"];
    const { elements, lines: all } = packed[operand];
    const at = (block: number): string =>
      `${operand}Scales[${elements * all} + 2 * ((${operand}Lines + ${first}) / ${BLOCK} + ${block})`;
    const blocks = Array.from({ length: Math.ceil(lines / BLOCK) }, (_, k) => k);
    const of = (combine: "min" | "max", more: string): string =>
      blocks.map((k) => `${at(k)}${more}]`).reduce((x, y) => `${combine}(${x}, ${y})`);
    return `let ${operand}Low = ${of("min", "")};\nlet ${operand}High = ${of("max", " + 1")};`;
  };
  return `${look("a")}
${look("b")}
let evenScales = (min(aLow, bLow) > 0) & (aLow + bLow >= 127) & (aHigh + bHigh <= 380);`;
}

/** The exponents of the scales of a subgroup's fragments. */
function fragmentScales({ block }: MatrixUnitTile): string {
  const of = (operand: "a" | "b", lines: number, first: string): string[] =>
    Array.from(
      { length: lines / FRAGMENT },
      (_, k) => `let ${operand}Bits${k} = ${operand}Scales[${operand}Lines + ${first} + ${FRAGMENT * k}];`,
    );
  return [...of("a", block.rows, "firstRow + blockRow"), ...of("b", block.columns, "firstColumn + blockColumn")].join(
    "\n",
  );
}

/**
 * Stores a strip's elements that are in the result, four neighbours a thread: a thread has the same columns in every row.
 * Where k is summed in stretches, all but the first add to what is there.
 */
export function storeFunction(code: MatrixUnitCode): string {
  const { tile, result, epilogue, a, stretch, storesVectors, found = false } = code;
  const inBlocks = layout(code).blockLength !== undefined;
  const quads = tile.block.columns / 4;
  const scaled = a.stored !== "f16";
  const bits = (operand: "a" | "b", line: string): string =>
    found
      ? `${operand}Bits[${line}]`
      : a.stored === "f32"
        ? `bitsOf(${operand}Most[${line}])`
        : `${operand}Scales[${line}]`;
  const unscaling = `value = unscaled(value, ${bits("a", "aLines + row + r")}, scales, row + r, column, batch, part);`;
  const adds = stretch !== undefined;
  const element = (e: number): string => (epilogue ? `finish(at + ${e}, value[${e}])` : `value[${e}]`);
  const stored = (text: string, type: string): string => (result === "f16" ? `${type}(${text})` : text);
  const vector = epilogue ? "finishFour(at, value)" : "value";
  const four = `${adds ? "if (adds) { value += c[at / 4]; }\n" : ""}c[at / 4] = ${stored(vector, "vec4<f16>")};`;
  const singly = [0, 1, 2, 3]
    .map((e) => {
      const value = stored(element(e), "f16");
      const text = adds
        ? `if (adds) { value[${e}] += c[at + ${e}]; } c[at + ${e}] = ${value};`
        : `c[at + ${e}] = ${value};`;
      return `if (column + ${e} < p.n) { ${text} }`;
    })
    .join("\n");
  return `fn storeStrip(start: i32, row: i32, firstColumn: i32, strip: i32, thread: i32${scaled ? ", batch: i32, part: i32, aLines: i32, bLines: i32" : ""}${adds ? ", adds: bool" : ""}) {
  let quad = thread % ${quads};
  let column = firstColumn + 4 * quad;
  if (column >= p.n) { return; }
${
  scaled
    ? indent(`let columns = bLines + min(vec4<i32>(column) + vec4<i32>(0, 1, 2, 3), vec4<i32>(p.n - 1));
let scales = vec4<i32>(${["x", "y", "z", "w"].map((e) => bits("b", `columns.${e}`)).join(", ")});`)
    : ""
}
  for (var r = thread / ${quads}; r < ${FRAGMENT}; r += ${SUBGROUP / quads}) {
    if (row + r >= p.m) { break; }
    var value = bitcast<vec4<f32>>(tiles[strip${inBlocks ? "][" : " + "}r * ${stripPitch(tile)} + quad]);
${scaled ? indent(unscaling, 2) : ""}
    let at = start + (row + r) * p.n + column;
${indent(storesVectors ? four : singly, 2)}
  }
}
`;
}
