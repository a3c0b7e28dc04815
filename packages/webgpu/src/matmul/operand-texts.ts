/**
 * The texts that bring an operand's slices from memory to registers and on, as f16, to workgroup memory: eight elements a
 * vector there. f16 operands are copied. f32 ones are scaled line by line and rounded, or divided into a high part of at
 * most eleven bits and the rest. The high part is found with integers: a difference of x and its rounded value is zero to
 * compilers that fold it.
 */
import { FRAGMENT } from "@seqmix/tensor/wgsl";
import { findingTexts, type FindingTexts } from "./found-scales.js";
import { batchStart } from "./text.js";

/** f16 elements of a vector, and those that a row has more in workgroup memory. */
export const VECTOR = 8,
  PADDING = 8;

/** How an operand lies in memory. */
export interface OperandReading {
  /** "packed": as parts in f16, see `packing.ts`. */
  readonly stored: "f16" | "f32" | "packed";
  /** Whether neighbours in memory follow the depth (else the lines). */
  readonly alongDepth: boolean;
  /** Elements read at once: of f16 always 8. */
  readonly unit: 8 | 4 | 1;
}

/** How a packed operand lies in memory. */
export const PACKED: OperandReading = { stored: "packed", alongDepth: false, unit: 8 };

interface SliceForm {
  readonly lines: number;
  readonly depth: number;
  readonly threads: number;
  /** Where slices of high parts and, perhaps, of low parts begin in workgroup memory; in blocks, the first of them. */
  readonly places: readonly number[];
  /** Lines of a block, of slices that lie in blocks. */
  readonly block?: number | undefined;
  readonly batchAxes: number;
  /** Whether scales of f32 operands are found on the way; see `found-scales.ts`. */
  readonly found?: boolean;
}

export interface OperandTexts {
  readonly operand: "a" | "b";
  /** Of an element of its buffer. */
  readonly type: string;
  /** Declares positions in memory, registers and scales. @param start Where the batch element begins. */
  head(start: string): string;
  /** Reads the slice that begins at depth `next`. */
  readonly load: string;
  /** The same, with zeros from `end` on. */
  readonly loadRagged: string;
  /** Positions of the slice after. */
  readonly advance: string;
  readonly store: string;
  /** What finding scales takes, of f32 operands. */
  readonly finding: FindingTexts;
  /**
   * The first vector of a fragment: of high (0) or low (1) parts, at a step along the depth and a line of the tile; in
   * blocks, a line of the block, and counted from its start.
   */
  fragmentAt(part: number, step: number, line: number): number;
}

export function operandTexts(operand: "a" | "b", reading: OperandReading, form: SliceForm): OperandTexts {
  const { lines, depth, threads, places, batchAxes, block, found = false } = form;
  const { stored, alongDepth, unit } = reading;
  const limit = operand === "a" ? "p.m" : "p.n";
  const first = operand === "a" ? "firstRow" : "firstColumn";
  const name = (part: string, q: number): string => `${operand}${part}${q}`;
  const some = Array.from({ length: (lines * depth) / VECTOR / threads }, (_, q) => q);
  const inRow = (alongDepth ? depth : lines) / VECTOR;
  const pitch = pitchOf(alongDepth ? depth : (block ?? lines));
  const [fast, slow] = alongDepth ? ["Inner", "Line"] : ["Line", "Inner"];

  const position = (q: number): string => {
    const [line, inner] = alongDepth
      ? [`${first} + ${name("Row", q)}`, `next + ${name("Column", q)} * ${VECTOR}`]
      : [`${first} + ${name("Column", q)} * ${VECTOR}`, `next + ${name("Row", q)}`];
    const [near, far] = alongDepth ? [inner, line] : [line, inner];
    return `(${far}) * p.${operand}${slow} + ${unit === 1 ? `(${near}) * p.${operand}${fast}` : `(${near}) / ${unit}`}`;
  };
  /** One for each part of eight f16, or two for eight of f32. */
  const registers = (q: number): string[] =>
    (stored === "f32" ? [0, 1] : places).map((_, part) => `${name("Read", q)}_${part}`);
  const read = (q: number): string[] => {
    const at = name("At", q);
    if (stored !== "f32")
      return registers(q).map(
        (register, part) => `${register} = ${operand}[${at}${part === 0 ? "" : ` + p.${operand}Low`}];`,
      );
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
    return stored !== "f32"
      ? `${begin} < end`
      : `vec4<i32>(${begin} + ${4 * half}) + vec4<i32>(0, 1, 2, 3) < vec4<i32>(end)`;
  };
  const zero = stored === "f32" ? "vec4<f32>()" : "vec4<u32>()";
  const readRagged = (q: number): string[] => [
    ...read(q),
    ...registers(q).map((register, half) => `${register} = select(${zero}, ${register}, ${inside(q, half)});`),
  ];

  const most = (line: string): string => `scaleOf(${operand}Most[${operand}Lines + min(${line}, ${limit} - 1)])`;
  /** Scales: of a line where vectors follow the depth, else of the eight lines that all vectors of the thread have. */
  const scales = (): string[] => {
    if (stored === "f16" || found) return [];
    if (stored === "packed") return [`let ${operand}Lines = ${batchStart(operand, batchAxes, "Lines")};`];
    const begin = `let ${operand}Lines = ${batchStart(operand, batchAxes, "Lines")};`;
    if (alongDepth)
      return [begin, ...some.map((q) => `let ${name("Scale", q)} = ${most(`${first} + ${name("Row", q)}`)};`)];
    const four = (half: number): string =>
      [0, 1, 2, 3].map((e) => most(`${first} + ${name("Column", 0)} * ${VECTOR} + ${4 * half + e}`)).join(", ");
    return [begin, ...[0, 1].map((half) => `let ${operand}Scale_${half} = vec4<f32>(${four(half)});`)];
  };
  const track = (q: number, x: string, y: string): string[] => {
    if (!found) return [];
    if (alongDepth)
      return [`${name("Most", q)} = max(${name("Most", q)}, largestOf(max(sizesOf(${x}), sizesOf(${y}))));`];
    return [x, y].map(
      (register, half) => `${operand}Most_${half} = max(${operand}Most_${half}, sizesOf(${register}));`,
    );
  };
  const write = (q: number): string[] => {
    const to = (part: number): string => {
      const place = places[part]! > 0 ? `${places[part]} + ` : "";
      return block === undefined
        ? `tiles[${place}${name("Row", q)} * ${pitch} + ${name("Column", q)}]`
        : `tiles[${place}${name("Block", q)}][${name("To", q)}]`;
    };
    if (stored !== "f32") return registers(q).map((register, part) => `${to(part)} = ${register};`);
    const scale = (half: number): string => (alongDepth ? name("Scale", q) : `${operand}Scale_${half}`);
    const [x, y] = registers(q) as [string, string];
    return places.length === 1
      ? [...track(q, x, y), `${to(0)} = pack8(${x} * ${scale(0)}, ${y} * ${scale(1)});`]
      : [
          ...track(q, x, y),
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
  /** Where a vector is to go: the number of its block, and its place there. */
  const inBlock = (q: number, size: number): string[] => {
    const [row, column] = [name("Row", q), name("Column", q)];
    const [which, to] = alongDepth
      ? [`${row} / ${size}`, `${row} % ${size} * ${pitch} + ${column}`]
      : [`${column} / ${size / VECTOR}`, `${row} * ${pitch} + ${column} % ${size / VECTOR}`];
    return [`let ${name("Block", q)} = ${which};`, `let ${name("To", q)} = ${to};`];
  };
  const type = stored !== "f32" ? "vec4<u32>" : unit === 4 ? "vec4<f32>" : "f32";
  const step = alongDepth && unit !== 1 ? String(depth / unit) : `${depth} * p.${operand}Inner`;
  const finding = findingTexts(
    operand,
    alongDepth,
    some.map((q) => ({ registers: registers(q), position: position(q) })),
  );
  return {
    operand,
    type,
    finding,
    head: (start) =>
      [
        `let ${operand}Start = ${start};`,
        ...some.flatMap((q) => {
          const e = q === 0 ? "lane" : `(lane + ${threads * q})`;
          return [
            `let ${name("Row", q)} = ${e} / ${inRow};`,
            `let ${name("Column", q)} = ${e} % ${inRow};`,
            ...(block === undefined ? [] : inBlock(q, block)),
            found ? `var ${name("At", q)} = 0;` : `var ${name("At", q)} = ${operand}Start + ${position(q)};`,
            ...registers(q).map((register) => `var ${register} = ${zero};`),
          ];
        }),
        ...scales(),
      ].join("\n"),
    load: some.flatMap(read).join("\n"),
    loadRagged: some.flatMap(readRagged).join("\n"),
    advance: some.map((q) => `${name("At", q)} += ${step};`).join("\n"),
    store: some.flatMap(write).join("\n"),
    fragmentAt: (part, at, line) =>
      (block === undefined ? places[part]! : 0) +
      (alongDepth ? line * pitch + (at * FRAGMENT) / VECTOR : at * FRAGMENT * pitch + line / VECTOR),
  };
}

/** Vectors from one row of a slice, or of a block, to the next: eight elements more, against bank conflicts. */
export const pitchOf = (row: number): number => (row + PADDING) / VECTOR;
