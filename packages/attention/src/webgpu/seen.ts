/** Which pairs of a query and a key count, and what ALiBi takes off them, as WGSL. */
import { declare, declareParameters, entryPoint, type GpuBinding, type GpuPass } from "@seqmix/tensor/wgsl";
import type { AttentionOptions } from "../options.js";
import { lines } from "./text.js";

/** What decides about pairs. */
export interface Seeing extends AttentionOptions {
  /** Whether there are segments, positions of queries and positions of keys. */
  readonly segments: boolean;
  readonly queryPositions: boolean;
  readonly keyPositions: boolean;
}

/** Whether what a pair is given does not follow from its rows alone. */
export const isLabelled = ({ segments, queryPositions, keyPositions }: Seeing): boolean =>
  segments || queryPositions || keyPositions;

/** Whether places follow from rows. */
export const isOrdered = ({ queryPositions, keyPositions }: Seeing): boolean => !queryPositions && !keyPositions;

/** Statements: the place and segment of the own row, a query or a key of the sequence `batch`. */
export function ownLabel(seeing: Seeing, side: "query" | "key", row: string): string {
  if (!isLabelled(seeing)) return `let place = ${row}${side === "query" ? " + behind" : ""};`;
  const at = side === "query" ? `batch * p.L + ${row}` : `p.B * p.L + batch * p.S + ${row}`;
  return lines(`let label = labels[${at}];`, "let place = label.y;", seeing.segments ? "let segment = label.x;" : "");
}

/** Statements: the places and segments of the four rows of the other side from `otherFirst + 4 e` on. */
export function otherLabels(seeing: Seeing, side: "query" | "key", e: number): string {
  const rows = `let other${e} = otherFirst + ${4 * e} + vec4<i32>(0, 1, 2, 3);`;
  if (!isLabelled(seeing))
    return lines(rows, `let place${e} = other${e}${side === "query" ? " + vec4<i32>(behind)" : ""};`);
  const [base, length] = side === "query" ? ["batch * p.L", "p.L"] : ["p.B * p.L + batch * p.S", "p.S"];
  const four = [0, 1, 2, 3].map((n) => `labels[${base} + min(other${e}[${n}], ${length} - 1)]`);
  return lines(
    rows,
    four.map((text, n) => `let label${e}_${n} = ${text};`),
    ...(["y", "x"] as const).map((part) =>
      part === "y" || seeing.segments
        ? `let ${part === "y" ? "place" : "segment"}${e} = vec4<i32>(${[0, 1, 2, 3].map((n) => `label${e}_${n}.${part}`).join(", ")});`
        : "",
    ),
  );
}

/** vec4<bool>: whether the pairs of the own row and four of the other side count. */
export function seenText({ causal, window, segments, keyPositions }: Seeing, side: "query" | "key", e: number): string {
  const [own, other] = ["vec4<i32>(place)", `place${e}`];
  const [query, key] = side === "query" ? [other, own] : [own, other];
  const distance = `(${query} - ${key})`;
  return [
    `(other${e} < vec4<i32>(${side === "query" ? "p.L" : "p.S"}))`,
    causal ? `(${key} <= ${query})` : "",
    window > 0 ? `(${causal ? distance : `abs${distance}`} < vec4<i32>(${window}))` : "",
    segments ? `(segment${e} == vec4<i32>(segment))` : "",
    keyPositions ? `(${key} >= vec4<i32>(0))` : "",
  ]
    .filter(Boolean)
    .join(" & ");
}

/** Places of queries and keys in the program; undefined where a call has none. */
export interface LabelBuffers {
  readonly querySegments?: number | undefined;
  readonly keySegments?: number | undefined;
  readonly queryPositions?: number | undefined;
  readonly keyPositions?: number | undefined;
}

/** Segment and place of all queries [B L 2], then of all keys [B S 2]. */
export function labelsPass(
  { B, L, S }: { readonly B: number; readonly L: number; readonly S: number },
  given: LabelBuffers,
  labels: number,
): GpuPass {
  const parameters = { B, L, S };
  const names = (["querySegments", "keySegments", "queryPositions", "keyPositions"] as const).filter(
    (name) => given[name] !== undefined,
  );
  const value = (name: keyof LabelBuffers, at: string, otherwise: string): string =>
    given[name] === undefined ? otherwise : `${name}[${at}]`;
  const body = `let i = i32(group) * 256 + i32(thread);
let queries = p.B * p.L;
if (i < queries) {
  labels[i] = vec2<i32>(${value("querySegments", "i", "0")}, ${value("queryPositions", "i", "i % p.L + p.S - p.L")});
} else if (i < queries + p.B * p.S) {
  let j = i - queries;
  labels[i] = vec2<i32>(${value("keySegments", "j", "0")}, ${value("keyPositions", "j", "j % p.S")});
}`;
  const buffers: GpuBinding[] = [
    ...names.map((name): GpuBinding => ({ buffer: given[name]!, access: "read" })),
    { buffer: labels, access: "read_write" },
  ];
  return {
    code: `${names.map((name, k) => declare(k, name, "read", "i32")).join("")}${declare(names.length, "labels", "read_write", "vec2<i32>")}${declareParameters(buffers.length, parameters)}${entryPoint(256, body)}`,
    buffers,
    parameters,
    groups: Math.ceil((B * (L + S)) / 256),
  };
}
