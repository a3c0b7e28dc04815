/** WGSL of the steps of a transform on values in registers: one step splits (or joins) the blocks of one radix. */
import { levelsOf, QUARTER, range, reversed, twiddleVectors } from "./residues.js";

/** Text of statements, some of them left out. */
export type Text = string | readonly Text[];

/** Statements one a line. */
export const lines = (...text: readonly Text[]): string =>
  (text.flat(Infinity as 1) as string[]).filter((line) => line !== "").join("\n");

/** An f32 in WGSL. */
export function number(x: number): string {
  const text = Math.fround(x).toPrecision(9);
  return /[.e]/.test(text) ? text : `${text}.0`;
}

/** exp(2 pi i turns) in WGSL. */
const root = (turns: number): string =>
  `vec2f(${number(Math.cos(2 * Math.PI * turns))}, ${number(Math.sin(2 * Math.PI * turns))})`;

/** Complex arithmetic: a + w b, a + i w b, w a, conj(w) a and conj(i w) a. */
export const COMPLEX = `fn plus(a: vec2f, b: vec2f, w: vec2f) -> vec2f { return fma(vec2f(w.x), b, fma(vec2f(-w.y, w.y), b.yx, a)); }
fn plusI(a: vec2f, b: vec2f, w: vec2f) -> vec2f { return fma(vec2f(-w.y), b, fma(vec2f(-w.x, w.x), b.yx, a)); }
fn times(a: vec2f, w: vec2f) -> vec2f { return fma(vec2f(w.x), a, vec2f(-w.y, w.y) * a.yx); }
fn back(a: vec2f, w: vec2f) -> vec2f { return fma(vec2f(w.x), a, vec2f(w.y, -w.y) * a.yx); }
fn backI(a: vec2f, w: vec2f) -> vec2f { return fma(vec2f(-w.y), a, vec2f(w.x, -w.x) * a.yx); }
fn conj(a: vec2f) -> vec2f { return vec2f(a.x, -a.y); }
`;

/** A twiddle exp(2 pi i (theta + f) / 2^level) as text; `turned`: times i. */
interface Twiddle {
  readonly w: string;
  readonly turned: boolean;
}

type Twiddles = (level: number, f: number) => Twiddle;

/** Twiddles of a block whose angle the text knows. */
const constantTwiddles =
  (theta: number): Twiddles =>
  (level, f) => ({ w: root((theta + f) / 2 ** level), turned: false });

/** Reads the twiddles of a block: those with f = 0 from the table, the others are those times constants. */
export function loadedTwiddles(radix: number, entry: string): { readonly text: Text; readonly twiddles: Twiddles } {
  const levels = levelsOf(radix);
  const name = (level: number, f: number): string => (f === 0 ? `w${level}` : `w${level}_${f}`);
  const text: Text = [
    range(twiddleVectors(radix)).map((k) => `let wv${k} = twiddles[${entry} + ${k}u];`),
    range(levels).map((k) => `let w${k + 1} = wv${k >> 1}.${k % 2 === 0 ? "xy" : "zw"};`),
    range(levels - 2 > 0 ? levels - 2 : 0).flatMap((k) =>
      range((1 << (k + 1)) - 1).map(
        (f) => `let ${name(k + 3, f + 1)} = times(w${k + 3}, ${root((f + 1) / 2 ** (k + 3))});`,
      ),
    ),
  ];
  return {
    text,
    twiddles(level, f) {
      // a quarter turn on is times i
      const quarter = level >= 2 ? 1 << (level - 2) : 1;
      return f >= quarter ? { w: name(level, f - quarter), turned: true } : { w: name(level, f), turned: false };
    },
  };
}

/** The pairs of values that a level joins, with the number of their block. */
function pairsOf(values: readonly string[], level: number): { x: string; y: string; f: number }[] {
  const half = values.length >> level;
  return range(1 << (level - 1)).flatMap((block) =>
    range(half).map((j) => ({
      x: values[2 * block * half + j]!,
      y: values[2 * block * half + half + j]!,
      f: reversed(block, level - 1),
    })),
  );
}

/** Levels from `first` on: x, y become x + w y and x - w y = 2 x - (x + w y). */
export const forwardLevels = (values: readonly string[], twiddles: Twiddles, first = 1): Text =>
  range(levelsOf(values.length) + 1 - first).flatMap((k) =>
    pairsOf(values, first + k).map(({ x, y, f }) => {
      const { w, turned } = twiddles(first + k, f);
      return `{ let a = plus${turned ? "I" : ""}(${x}, ${y}, ${w}); ${y} = fma(vec2f(2.0), ${x}, -a); ${x} = a; }`;
    }),
  );

/** Levels down to `last`, each twice the inverse: x, y become x + y and conj(w) (x - y). */
export const inverseLevels = (values: readonly string[], twiddles: Twiddles, last = 1): Text =>
  range(levelsOf(values.length) + 1 - last)
    .reverse()
    .flatMap((k) =>
      pairsOf(values, last + k).map(({ x, y, f }) => {
        const { w, turned } = twiddles(last + k, f);
        return `{ let d = ${x} - ${y}; ${x} = ${x} + ${y}; ${y} = back${turned ? "I" : ""}(d, ${w}); }`;
      }),
    );

const [COS, SIN] = [number(Math.cos(Math.PI * QUARTER)), number(Math.sin(Math.PI * QUARTER))];

/** The first step, from real numbers (in the real parts of the values). */
export function realForward(values: readonly string[]): Text {
  const half = values.length / 2;
  const first = range(half).map((j) => {
    const [x, y] = [values[j]!, values[j + half]!];
    return `{ let a = ${x}.x; let b = ${y}.x; ${x} = vec2f(fma(${COS}, b, a), ${SIN} * b); ${y} = vec2f(fma(-${COS}, b, a), -${x}.y); }`;
  });
  return [first, forwardLevels(values, constantTwiddles(QUARTER), 2)];
}

/** The inverse of the first step; real parts only, in the real parts of the values, unless `imaginary`. */
export function realInverse(values: readonly string[], imaginary = false): Text {
  const half = values.length / 2;
  const twiddles = constantTwiddles(QUARTER);
  if (imaginary) return inverseLevels(values, twiddles);
  const last = range(half).map((j) => {
    const [x, y] = [values[j]!, values[j + half]!];
    return `{ let d = ${x} - ${y}; ${x}.x = ${x}.x + ${y}.x; ${y}.x = fma(${COS}, d.x, ${SIN} * d.y); }`;
  });
  return [inverseLevels(values, twiddles, 2), last];
}
