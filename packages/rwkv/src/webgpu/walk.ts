/** What the passes of WKV share: a thread has a channel of a segment of a sequence and walks through its positions. */
import { declare, declareParameters, entryPoint, indent, type GpuPass } from "@seqmix/tensor/wgsl";

/** Extents of a call, and how sequences are cut. */
export interface WkvForm {
  readonly B: number;
  readonly L: number;
  readonly C: number;
  /** Segments of a sequence, and positions of each. */
  readonly segments: number;
  readonly length: number;
  /** Whether sequences begin with a state, and whether they have resets. */
  readonly carried: boolean;
  readonly resets: boolean;
}

/** The exponent of a state that holds nothing. */
export const NOTHING = "-1e38";

const THREADS = 256;
/** Positions whose numbers are asked for together. */
const AHEAD = 8;
/** Threads that keep a large GPU busy, and the shortest segment that is worth its passes. */
const FULL = 2 ** 17,
  SHORTEST = 64;

/** Segments with which all threads of a large GPU have work. */
export function cut(B: number, L: number, C: number): { readonly segments: number; readonly length: number } {
  const wished = Math.max(1, Math.min(Math.ceil(FULL / (B * C)), Math.floor(L / SHORTEST)));
  const length = Math.ceil(L / wished / AHEAD) * AHEAD;
  return { segments: Math.ceil(L / length), length };
}

/** A buffer of a pass by its name, with its number in the program. */
export interface Used {
  readonly name: string;
  readonly buffer: number;
  readonly type?: "f32" | "u32";
  readonly written?: boolean;
}

export const parametersOf = ({ B, L, C, segments, length }: WkvForm): Readonly<Record<string, number>> => ({
  B,
  L,
  C,
  segments,
  length,
});

/** One thread for each of `count` elements; `i` is its number. */
export function passOf(form: WkvForm, used: readonly Used[], count: number, body: string): GpuPass {
  const parameters = { ...parametersOf(form), count };
  return {
    code: `${used.map(({ name, type = "f32", written }, k) => declare(k, name, written ? "read_write" : "read", type)).join("")}${declareParameters(used.length, parameters)}${entryPoint(
      THREADS,
      `let i = i32(group) * ${THREADS} + i32(thread);
if (i >= p.count) { return; }
${body}`,
    )}`,
    buffers: used.map(({ buffer, written }) => ({ buffer, access: written ? "read_write" : "read" })),
    parameters,
    groups: Math.ceil(count / THREADS),
  };
}

/** Which channel, segment and sequence a thread has, and the segment's positions. */
export const place = `let c = i % p.C;
let segment = i / p.C % p.segments;
let b = i / (p.C * p.segments);
let start = segment * p.length;
let end = min(start + p.length, p.L);`;

/**
 * Goes through the segment's positions, some at a time so that their numbers are on the way together. `step` is the text
 * of one position, given the names of its numbers, its place in [B L C] and its position.
 */
export function walk(
  names: readonly string[],
  backwards: boolean,
  step: (value: (name: string) => string, at: string, t: string) => string,
): string {
  const next = backwards ? "t -= 1;\nat -= p.C;" : "t += 1;\nat += p.C;";
  const sign = backwards ? "-" : "+";
  const positions = Array.from({ length: AHEAD }, (_, n) => n);
  const inside = backwards ? `t - ${AHEAD - 1} >= start` : `t + ${AHEAD - 1} < end`;
  const one = step((name) => `${name}_`, "at", "t");
  return `var t = ${backwards ? "end - 1" : "start"};
var at = (b * p.L + t) * p.C + c;
while (${inside}) {
${indent(positions.flatMap((n) => names.map((name) => `let ${name}${n} = ${name}[at ${sign} ${n} * p.C];`)).join("\n"))}
${positions
  .map(
    (n) =>
      `  {\n${indent(
        step((name) => `${name}${n}`, `(at ${sign} ${n} * p.C)`, `(t ${sign} ${n})`),
        2,
      )}\n  }`,
  )
  .join("\n")}
  t ${sign}= ${AHEAD};
  at ${sign}= ${AHEAD} * p.C;
}
while (${backwards ? "t >= start" : "t < end"}) {
${indent(names.map((name) => `let ${name}_ = ${name}[at];`).join("\n"))}
${indent(one)}
${indent(next)}
}`;
}

/** Numbers of the program's buffers by name. */
export type Numbered = (name: string) => number;

/** Buffers that a pass reads, with the resets where there are any. */
export const reads = (form: WkvForm, number: Numbered, names: readonly string[]): Used[] => [
  ...names.map((name) => ({ name, buffer: number(name) })),
  ...(form.resets ? [{ name: "resets", buffer: number("resets"), type: "u32" as const }] : []),
];
