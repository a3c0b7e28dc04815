/**
 * The texts that bring an operand's slices from memory to registers and on, as f16, to workgroup memory: eight elements a
 * vector there. f16 operands are copied. f32 ones are scaled line by line and rounded, or divided into a high part of at
 * most eleven bits and the rest. The high part is found with integers: a difference of x and its rounded value is zero to
 * compilers that fold it.
 */
import { FRAGMENT } from "@seqmix/tensor/wgsl";
import { batchStart } from "./text.js";

/** f16 elements of a vector, and those that a row has more in workgroup memory. */
export const VECTOR = 8,
  PADDING = 8;

/** How an operand lies in memory. */
export interface OperandReading {
  readonly stored: "f16" | "f32";
  /** Whether neighbours in memory follow the depth (else the lines). */
  readonly alongDepth: boolean;
  /** Elements read at once: of f16 always 8. */
  readonly unit: 8 | 4 | 1;
}

interface SliceForm {
  readonly lines: number;
  readonly depth: number;
  readonly threads: number;
  /** Lines that a subgroup needs: a block of workgroup memory has their part of a slice. */
  readonly block: number;
  /** The first block of high parts and, perhaps, of low parts. */
  readonly places: readonly number[];
  readonly batchAxes: number;
  /** Whether a workgroup's lines may have one scale: WGSL `even` says so, and `aTile` or `bTile` is the largest of all. */
  readonly even: boolean;
}

export interface OperandTexts {
  readonly operand: "a" | "b";
  /** Of an element of its buffer. */
  readonly type: string;
  /** Declares positions in memory and registers. @param start Where the batch element begins. */
  head(start: string): string;
  /** Declares where the largest sizes of the lines begin; empty for f16. */
  readonly lines: string;
  /** Declares the scales. */
  readonly scales: string;
  /** Reads the slice that begins at depth `next`. */
  readonly load: string;
  /** The same, with zeros from `end` on. */
  readonly loadRagged: string;
  /** Positions of the slice after. */
  readonly advance: string;
  readonly store: string;
  /** The first vector of a fragment in its block, at a step along the depth and a line of the block. */
  fragmentAt(step: number, line: number): number;
}

export function operandTexts(operand: "a" | "b", reading: OperandReading, form: SliceForm): OperandTexts {
  const { lines, block, depth, threads, places, batchAxes, even } = form;
  const { stored, alongDepth, unit } = reading;
  const limit = operand === "a" ? "p.m" : "p.n";
  const first = operand === "a" ? "firstRow" : "firstColumn";
  const name = (part: string, q: number): string => `${operand}${part}${q}`;
  const some = Array.from({ length: (lines * depth) / VECTOR / threads }, (_, q) => q);
  const inRow = (alongDepth ? depth : lines) / VECTOR;
  const { pitch } = blockOf(alongDepth, block, depth);
  const [fast, slow] = alongDepth ? ["Inner", "Line"] : ["Line", "Inner"];

  const position = (q: number): string => {
    const [line, inner] = alongDepth
      ? [`${first} + ${name("Row", q)}`, `next + ${name("Column", q)} * ${VECTOR}`]
      : [`${first} + ${name("Column", q)} * ${VECTOR}`, `next + ${name("Row", q)}`];
    const [near, far] = alongDepth ? [inner, line] : [line, inner];
    return `(${far}) * p.${operand}${slow} + ${unit === 1 ? `(${near}) * p.${operand}${fast}` : `(${near}) / ${unit}`}`;
  };
  const registers = (q: number): string[] =>
    stored === "f16" ? [name("Read", q)] : [`${name("Read", q)}_0`, `${name("Read", q)}_1`];
  const read = (q: number): string[] => {
    const at = name("At", q);
    if (stored === "f16") return [`${name("Read", q)} = ${operand}[${at}];`];
    return registers(q).map((register, half) => {
      if (unit === 4) return `${register} = ${operand}[${at}${half === 0 ? "" : " + 1"}];`;
      const each = [0, 1, 2, 3].map((e) => `${operand}[${at} + ${4 * half + e} * p.${operand}${fast}]`);
      return `${register} = vec4<f32>(${each.join(", ")});`;
    });
  };
  /** Whether the elements of a register are before the end of k. */
  const inside = (q: number, half: number): string => {
    if (!alongDepth) return `next + ${name("Row", q)} < end`;
    const begin = `next + ${name("Column", q)} * ${VECTOR}`;
    return stored === "f16"
      ? `${begin} < end`
      : `vec4<i32>(${begin} + ${4 * half}) + vec4<i32>(0, 1, 2, 3) < vec4<i32>(end)`;
  };
  const zero = stored === "f16" ? "vec4<u32>()" : "vec4<f32>()";
  const readRagged = (q: number): string[] => [
    ...read(q),
    ...registers(q).map((register, half) => `${register} = select(${zero}, ${register}, ${inside(q, half)});`),
  ];

  const most = (line: string): string => {
    const own = `scaleOf(${operand}Most[${operand}Lines + min(${line}, ${limit} - 1)])`;
    return even ? `select(${own}, scaleOf(${operand}Tile), even)` : own;
  };
  /** Scales: of a line where vectors follow the depth, else of the eight lines that all vectors of the thread have. */
  const scales = (): string[] => {
    if (stored === "f16") return [];
    if (alongDepth) return some.map((q) => `let ${name("Scale", q)} = ${most(`${first} + ${name("Row", q)}`)};`);
    const four = (half: number): string =>
      [0, 1, 2, 3].map((e) => most(`${first} + ${name("Column", 0)} * ${VECTOR} + ${4 * half + e}`)).join(", ");
    return [0, 1].map((half) => `let ${operand}Scale_${half} = vec4<f32>(${four(half)});`);
  };
  const write = (q: number): string[] => {
    const to = (part: number): string =>
      `tiles[${places[part]! > 0 ? `${places[part]} + ` : ""}${name("Block", q)}][${name("To", q)}]`;
    if (stored === "f16") return [`${to(0)} = ${name("Read", q)};`];
    const scale = (half: number): string => (alongDepth ? name("Scale", q) : `${operand}Scale_${half}`);
    const [x, y] = registers(q);
    return places.length === 1
      ? [`${to(0)} = pack8(${x} * ${scale(0)}, ${y} * ${scale(1)});`]
      : [
          `{`,
          `  let x = ${x} * ${scale(0)};`,
          `  let y = ${y} * ${scale(1)};`,
          `  let u = highPart(x);`,
          `  let v = highPart(y);`,
          `  ${to(0)} = pack8(u, v);`,
          `  ${to(1)} = pack8(x - u, y - v);`,
          `}`,
        ];
  };
  const type = stored === "f16" ? "vec4<u32>" : unit === 4 ? "vec4<f32>" : "f32";
  const step = alongDepth && unit !== 1 ? String(depth / unit) : `${depth} * p.${operand}Inner`;
  return {
    operand,
    type,
    head: (start) =>
      [
        `let ${operand}Start = ${start};`,
        ...some.flatMap((q) => {
          const e = q === 0 ? "lane" : `(lane + ${threads * q})`;
          return [
            `let ${name("Row", q)} = ${e} / ${inRow};`,
            `let ${name("Column", q)} = ${e} % ${inRow};`,
            ...(alongDepth
              ? [
                  `let ${name("Block", q)} = ${name("Row", q)} / ${block};`,
                  `let ${name("To", q)} = ${name("Row", q)} % ${block} * ${pitch} + ${name("Column", q)};`,
                ]
              : [
                  `let ${name("Block", q)} = ${name("Column", q)} / ${block / VECTOR};`,
                  `let ${name("To", q)} = ${name("Row", q)} * ${pitch} + ${name("Column", q)} % ${block / VECTOR};`,
                ]),
            `var ${name("At", q)} = ${operand}Start + ${position(q)};`,
            ...registers(q).map((register) => `var ${register} = ${zero};`),
          ];
        }),
      ].join("\n"),
    lines: stored === "f16" ? "" : `let ${operand}Lines = ${batchStart(operand, batchAxes, "Lines")};`,
    scales: scales().join("\n"),
    load: some.flatMap(read).join("\n"),
    loadRagged: some.flatMap(readRagged).join("\n"),
    advance: some.map((q) => `${name("At", q)} += ${step};`).join("\n"),
    store: some.flatMap(write).join("\n"),
    fragmentAt: (at, line) =>
      alongDepth ? line * pitch + (at * FRAGMENT) / VECTOR : at * FRAGMENT * pitch + line / VECTOR,
  };
}

/**
 * A block of so many lines: vectors from one row to the next and in all. It lies as the operand does, with eight elements
 * more a row: rows at a multiple of 128 bytes would be read from the same banks.
 */
export function blockOf(
  alongDepth: boolean,
  lines: number,
  depth: number,
): { readonly pitch: number; readonly vectors: number } {
  const pitch = ((alongDepth ? depth : lines) + PADDING) / VECTOR;
  return { pitch, vectors: pitch * (alongDepth ? lines : depth) };
}
