/** Programs of attention on the WebGPU device: operands, engines and passes put together. */
import type { KernelCase } from "@seqmix/tensor";
import {
  bytesOf,
  FRAGMENT,
  type FragmentTexts,
  type GpuBinding,
  type GpuLimits,
  type GpuParameters,
  type GpuPass,
  type GpuProgram,
} from "@seqmix/tensor/wgsl";
import type { AttentionOptions } from "../options.js";
import { backwardBindings, backwardCode, backwardProducts, type BackwardCode, type Side } from "./backward.js";
import type { Binding, Engine, Products } from "./engine.js";
import { fmaEngine, type FmaTile } from "./fma-engine.js";
import { forwardBindings, forwardCode, forwardProducts } from "./forward.js";
import { matrixEngine } from "./matrix-engine.js";
import type { MatrixTile, Terms } from "./matrix-layout.js";
import { narrowPass } from "./narrow.js";
import { rowFactsPass } from "./row-facts.js";
import { isLabelled, labelsPass, type Seeing } from "./seen.js";
import { CHUNK } from "./text.js";

export type Case = KernelCase<AttentionOptions>;

/** What computes the products. */
export type Hardware =
  | { readonly kind: "multiply-adds"; readonly tile: FmaTile }
  | {
      readonly kind: "matrix units";
      readonly tile: MatrixTile;
      readonly terms: Terms;
      readonly fragments: FragmentTexts;
    };

/** Keys over which matrix units sum as exactly as f32: they cut sums instead of rounding them. */
const STRETCH = 1024;

const upTo = (n: number, unit: number): number => Math.ceil(n / unit) * unit;

/** Extents of a call. */
export interface Extents {
  readonly B: number;
  readonly H: number;
  readonly G: number;
  readonly L: number;
  readonly S: number;
  readonly K: number;
  readonly V: number;
}
export const extentsOf = ({ dims }: Pick<Case, "dims">): Extents => dims as unknown as Extents;

const seeingOf = ({ options, present }: Case): Seeing => ({
  ...options,
  segments: present.has("keySegments"),
  queryPositions: present.has("queryPositions"),
  keyPositions: present.has("keyPositions"),
});

/** Widths of keys and values as the hardware reads them. */
export function widthsOf({ K, V }: Extents, hardware: Hardware): readonly [number, number] {
  if (hardware.kind === "multiply-adds") return [K, V];
  const unit = FRAGMENT * hardware.tile.sums.across;
  return [upTo(K, unit), upTo(V, unit)];
}

/** A program under construction: numbers of buffers by name, scratch behind them. */
interface Draft {
  readonly kase: Case;
  readonly limits: GpuLimits;
  readonly numbers: Map<string, number>;
  readonly scratch: number[];
  readonly passes: GpuPass[];
}

function draftOf(kase: Case, limits: GpuLimits, names: readonly string[]): Draft {
  return { kase, limits, numbers: new Map(names.map((name, k) => [name, k])), scratch: [], passes: [] };
}

/** Takes scratch; a name that is taken already means the new block from here on. */
function take({ numbers, scratch }: Draft, name: string, bytes: number, given: number): number {
  const number = given + scratch.push(bytes) - 1;
  numbers.set(name, number);
  return number;
}

const isStoredHalf = ({ kase: { halves }, limits }: Draft, name: string): boolean =>
  limits.storesHalf === true && halves.has(name);

function labelled(draft: Draft, given: number): void {
  const seeing = seeingOf(draft.kase);
  if (!isLabelled(seeing)) return;
  const { B, L, S } = extentsOf(draft.kase);
  const number = (name: string): number | undefined => draft.numbers.get(name);
  const buffers = {
    querySegments: number("querySegments"),
    keySegments: number("keySegments"),
    queryPositions: number("queryPositions"),
    keyPositions: number("keyPositions"),
  };
  draft.passes.push(labelsPass({ B, L, S }, buffers, take(draft, "labels", 8 * B * (L + S), given)));
}

/** Operands become f16 with exponents; `names` says which, with heads, rows and widths. */
function narrowed(
  draft: Draft,
  given: number,
  terms: Terms,
  operands: readonly (readonly [name: string, count: number, rows: number, width: number, stored: number])[],
): void {
  for (const [name, count, rows, width, stored] of operands) {
    const source = draft.numbers.get(name)!;
    const half = isStoredHalf(draft, name);
    const values = take(draft, name, bytesOf(count * rows * stored * (terms === 3 ? 2 : 1), "f16"), given);
    const exponents = take(draft, `${name}e`, bytesOf(count * Math.ceil(rows / CHUNK)), given);
    draft.passes.push(narrowPass({ count, rows, width, stored, terms, half }, [source, values, exponents]));
  }
}

const halvesOf = (draft: Draft): ReadonlySet<string> =>
  new Set(["q", "k", "v"].filter((name) => isStoredHalf(draft, name)));

function engineOf(draft: Draft, hardware: Hardware, products: Products, scaled: boolean): Engine {
  return hardware.kind === "multiply-adds"
    ? fmaEngine(hardware.tile, products, halvesOf(draft))
    : matrixEngine(hardware.tile, hardware.terms, hardware.fragments, products, scaled);
}

function parametersOf({ B, H, G, L, S }: Extents, side: Side, rows: number): GpuParameters {
  const [heads, length] = side === "query" ? [B * H, L] : [B * G, S];
  const tiles = Math.ceil(length / rows);
  return {
    groups: heads * tiles,
    tiles,
    heads,
    B,
    H,
    G,
    share: H / G,
    L,
    S,
    chunksL: Math.ceil(L / CHUNK),
    chunksS: Math.ceil(S / CHUNK),
  };
}

function add({ numbers, passes }: Draft, bindings: readonly Binding[], parameters: GpuParameters, code: string): void {
  passes.push({
    code,
    buffers: bindings.map(({ name, access }): GpuBinding => ({ buffer: numbers.get(name)!, access })),
    parameters,
    groups: parameters["groups"]!,
  });
}

const stretchOf = (hardware: Hardware): { readonly stretch?: number } =>
  hardware.kind === "matrix units" && hardware.terms === 3 ? { stretch: STRETCH } : {};

function describe(hardware: Hardware, half: boolean): string {
  const { rows, columns } = hardware.tile;
  const kind =
    hardware.kind === "multiply-adds"
      ? "multiply-adds"
      : `matrix units${half ? "" : hardware.terms === 1 ? " of tf32" : " of f32 in two parts"}`;
  return `tiles of ${rows} x ${columns} on ${kind}`;
}

export const isHalf = ({ halves }: Pick<Case, "halves">): boolean => ["q", "k", "v"].every((name) => halves.has(name));

export function forwardProgram(kase: Case, limits: GpuLimits, hardware: Hardware): GpuProgram {
  const extents = extentsOf(kase);
  const { B, H, G, L, S, K, V } = extents;
  const [keyWidth, valueWidth] = widthsOf(extents, hardware);
  const names = [...kase.present, "out", "logSumExp"];
  const draft = draftOf(kase, limits, names);
  labelled(draft, names.length);
  const direct = halvesOf(draft).size === 3 && keyWidth === K && valueWidth === V;
  if (hardware.kind === "matrix units" && !direct)
    narrowed(draft, names.length, hardware.terms, [
      ["q", B * H, L, K, keyWidth],
      ["k", B * G, S, K, keyWidth],
      ["v", B * G, S, V, valueWidth],
    ]);
  const products = forwardProducts(keyWidth, valueWidth);
  const engine = engineOf(draft, hardware, products, !direct);
  const parameters = parametersOf(extents, "query", engine.rows);
  const code = { seeing: seeingOf(kase), width: V, ...stretchOf(hardware) };
  add(draft, forwardBindings(code, engine, products), parameters, forwardCode(code, engine, products, parameters));
  return { name: describe(hardware, isHalf(kase)), passes: draft.passes, scratch: draft.scratch };
}

/** @param hardware For the gradients of queries, and for those of keys and values. */
export function backwardProgram(kase: Case, limits: GpuLimits, hardware: Readonly<Record<Side, Hardware>>): GpuProgram {
  const extents = extentsOf(kase);
  const { B, H, G, L, S, K, V } = extents;
  const gradients = ["dq", "dk", "dv"];
  const names = [
    ...kase.present,
    "out",
    "logSumExp",
    ...[...kase.cotangents].map((name) => (name === "out" ? "g" : "dLogSumExp")),
    ...gradients,
  ];
  const draft = draftOf(kase, limits, names);
  const number = (name: string): number | undefined => draft.numbers.get(name);
  const facts = take(draft, "facts", bytesOf(2 * B * H * L), names.length);
  draft.passes.push(
    rowFactsPass(
      { rows: B * H * L, width: V },
      {
        g: number("g")!,
        y: number("out")!,
        logSumExp: number("logSumExp")!,
        dLogSumExp: number("dLogSumExp"),
        facts,
      },
    ),
  );
  labelled(draft, names.length);
  const [keyWidth, valueWidth] = widthsOf(extents, hardware.query);
  if (hardware.query.kind === "matrix units")
    narrowed(draft, names.length, hardware.query.terms, [
      ["q", B * H, L, K, keyWidth],
      ["k", B * G, S, K, keyWidth],
      ["v", B * G, S, V, valueWidth],
      ["g", B * H, L, V, valueWidth],
    ]);
  for (const side of ["query", "key"] as const) {
    const products = backwardProducts(side, keyWidth, valueWidth);
    const engine = engineOf(draft, hardware[side], products, true);
    const parameters = parametersOf(extents, side, engine.rows);
    const code: BackwardCode = { side, seeing: seeingOf(kase), K, V, valueWidth, ...stretchOf(hardware[side]) };
    add(draft, backwardBindings(code, engine, products), parameters, backwardCode(code, engine, products, parameters));
  }
  return { name: describe(hardware.key, isHalf(kase)), passes: draft.passes, scratch: draft.scratch };
}
