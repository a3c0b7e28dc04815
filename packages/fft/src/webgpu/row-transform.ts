/**
 * A transform of one row by one workgroup, in WGSL: every thread keeps a few values in registers, and between two steps
 * they change places through workgroup memory. Everything is in place: a thread's values after the inverse are those it
 * had before, so that what is read and written beside a row (gate, skip) needs no movement.
 */
import { forwardLevels, inverseLevels, loadedTwiddles, type Text } from "./butterflies.js";
import { levelsOf, range, twiddleVectors } from "./residues.js";

/** How a row of n = r1 r2 .. rk values is laid on threads. */
export interface RowShape {
  /** r1 .. rk, powers of 2; each divides the values a thread keeps. */
  readonly radices: readonly number[];
  /** Values a thread keeps. */
  readonly values: number;
  /** Rows of a workgroup. */
  readonly rows: number;
  /** Real and imaginary parts change places together, or one after the other in half the memory. */
  readonly exchange: "whole" | "halves";
  /** A slot is left out after each run of the last digit, so that threads that hold it use different banks. */
  readonly padded: boolean;
}

/** Text of a row's transform; the values are `v0`, `v1`, .. */
export interface RowTransform {
  readonly n: number;
  readonly threads: number;
  readonly values: readonly string[];
  /** Invocations of a workgroup. */
  readonly invocations: number;
  /** Declares the workgroup memory. */
  readonly memory: string;
  /** `row` of the workgroup and `t`, the thread of the row. */
  readonly head: string;
  /** Declares the values. */
  readonly declared: string;
  /** The positions in the row of the values at the first step, as text, with what to do there. */
  atFirst(body: (value: string, position: string, index: number) => Text): Text;
  /** The first step's butterflies, each with its number `beta` as text. */
  firstButterflies(body: (values: readonly string[], beta: string) => Text): Text;
  /** Exchanges and steps behind the first one. @param block Number of the block that the row is, as text. */
  forward(offsets: readonly number[], block?: string): Text;
  /** The inverse of {@link forward}, times n / r1. */
  inverse(offsets: readonly number[], block?: string): Text;
  /** Twiddles and butterflies of the first step of complex rows. */
  complexFirst(offsets: readonly number[], block: string, inverse: boolean): Text;
}

const product = (factors: readonly number[]): number => factors.reduce((a, b) => a * b, 1);

/** Bytes of workgroup memory. */
export function rowBytes({ radices, rows, exchange, padded }: RowShape): number {
  const padding = padded && radices.length > 1 ? 1 : 0;
  const slots = product(radices.slice(0, -1)) * (radices.at(-1)! + padding);
  return radices.length === 1 ? 0 : rows * slots * (exchange === "whole" ? 8 : 4);
}

/** The text of a shape's transform. */
export function rowTransform(shape: RowShape): RowTransform {
  const { radices, values: kept, rows, exchange, padded } = shape;
  const n = product(radices);
  const threads = n / kept;
  const last = radices.length - 1;
  const values = range(kept).map((k) => `v${k}`);
  const element = exchange === "whole" ? "vec2f" : "f32";
  const type = radices.reduceRight(
    (inner, radix, step) => `array<${inner}, ${radix + (padded && step === last ? 1 : 0)}>`,
    element,
  );

  /** Butterflies of a step that this thread has: `beta` counts all of the step's. */
  const each = (step: number, body: (values: readonly string[]) => Text): Text =>
    range(kept / radices[step]!).map((h) => [
      `{ let beta = t${h > 0 ? ` + ${h * threads}u` : ""};`,
      body(values.slice(h * radices[step]!, (h + 1) * radices[step]!)),
      "}",
    ]);

  /** The digits of a butterfly's elements but the one that it holds. */
  const digits = (step: number): Text => {
    const others = radices.map((_, digit) => digit).filter((digit) => digit !== step);
    return others.map((digit, k) => {
      const run = product(others.slice(k + 1).map((other) => radices[other]!));
      return `let c${digit} = ${run === 1 ? "beta" : `beta / ${run}u`}${k > 0 ? ` % ${radices[digit]!}u` : ""};`;
    });
  };
  const slot = (step: number, q: number): string =>
    `s${rows > 1 ? "[row]" : ""}${radices.map((_, digit) => (digit === step ? `[${q}u]` : `[c${digit}]`)).join("")}`;
  const store = (step: number, part: string): Text =>
    each(step, (own) => [digits(step), own.map((value, q) => `${slot(step, q)} = ${value}${part};`)]);
  const load = (step: number, part: string): Text =>
    each(step, (own) => [digits(step), own.map((value, q) => `${value}${part} = ${slot(step, q)};`)]);
  /** From the places of a step to those of the next: places of a step are written by the thread that read them. */
  const change = (from: number, to: number): Text =>
    exchange === "whole"
      ? [store(from, ""), BARRIER, load(to, "")]
      : [store(from, ".x"), BARRIER, load(to, ".x"), BARRIER, store(from, ".y"), BARRIER, load(to, ".y")];

  const butterflies = (step: number, offsets: readonly number[], block: string | undefined, inverse: boolean): Text =>
    each(step, (own) => {
      const radix = radices[step]!;
      const after = product(radices.slice(step + 1));
      const before = product(radices.slice(0, step));
      const prefix = step === 0 ? "0u" : after === 1 ? "beta" : `beta / ${after}u`;
      const index = block === undefined ? prefix : `(${block} * ${before}u + ${prefix})`;
      const { text, twiddles } = loadedTwiddles(radix, `${offsets[step]!}u + ${index} * ${twiddleVectors(radix)}u`);
      return [text, inverse ? inverseLevels(own, twiddles) : forwardLevels(own, twiddles)];
    });

  return {
    n,
    threads,
    values,
    invocations: threads * rows,
    memory: last === 0 ? "" : `var<workgroup> s: ${rows > 1 ? `array<${type}, ${rows}>` : type};\n`,
    head: rows > 1 ? `let row = thread / ${threads}u;\nlet t = thread % ${threads}u;` : "let t = thread;",
    declared: values.map((value) => `var ${value}: vec2f;`).join(" "),
    firstButterflies: (body) => each(0, (own) => body(own, "beta")),
    atFirst(body) {
      const [radix] = radices as [number];
      const span = n / radix;
      return each(0, (own) => own.map((value, q) => body(value, q === 0 ? "beta" : `${q * span}u + beta`, q)));
    },
    forward: (offsets, block) => range(last).map((k) => [change(k, k + 1), butterflies(k + 1, offsets, block, false)]),
    inverse: (offsets, block) =>
      range(last)
        .reverse()
        .map((k) => [butterflies(k + 1, offsets, block, true), change(k + 1, k)]),
    complexFirst: (offsets, block, inverse) => butterflies(0, offsets, block, inverse),
  };
}

/** Between what one thread wrote and another reads. */
export const BARRIER = "workgroupBarrier();";

/** Radices of n = 2^m on threads that keep so many values: last steps of that radix, and a first one of what is left. */
export function radicesOf(n: number, values: number): readonly number[] {
  const levels = levelsOf(n);
  const most = levelsOf(values);
  const first = 1 << (levels % most);
  return [...(first > 1 ? [first] : []), ...range(Math.floor(levels / most)).map(() => values)];
}
