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
import { queryProductsBindings, queryProductsCode, queryProductsUnit } from "./query-products.js";
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

/** Bytes of the other side's rows that heads which run together read, so that a large GPU's cache holds them. */
const CACHED = { forward: 2 ** 25, backward: 2 ** 23 };

/** Heads that a pass runs over. */
interface Heads {
  readonly from: number;
  readonly count: number;
}

function parametersOf(
  extents: Extents,
  side: Side,
  rows: number,
  cached: number,
  heads = headsOf(extents, side),
): GpuParameters {
  const { B, H, G, L, S, K, V } = extents;
  const [length, read] = side === "query" ? [L, (S * G) / H] : [S, (L * H) / G];
  const tiles = Math.ceil(length / rows);
  return {
    groups: heads.count * tiles,
    tiles,
    near: largestDivisor(heads.count, cached / (2 * read * (K + V))),
    from_: heads.from,
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

const headsOf = ({ B, H, G }: Extents, side: Side): Heads => ({ from: 0, count: B * (side === "query" ? H : G) });

/** The largest divisor of n that is not over `most`, at least 1. */
function largestDivisor(n: number, most: number): number {
  let divisor = Math.max(1, Math.min(n, Math.floor(most)));
  while (n % divisor !== 0) divisor -= 1;
  return divisor;
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
  const parameters = parametersOf(extents, "query", engine.rows, CACHED.forward);
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
  const slices = slicesOf(draft, hardware);
  if (slices) keptSlopes(draft, hardware, slices, names.length);
  else for (const side of ["query", "key"] as const) gradientPass(draft, hardware[side], side);
  return { name: describe(hardware.key, isHalf(kase)), passes: draft.passes, scratch: draft.scratch };
}

/** The gradients of a side, with scores computed again. */
function gradientPass(draft: Draft, hardware: Hardware, side: Side, kept?: Heads & KeptBlocks): void {
  const extents = extentsOf(draft.kase);
  const [keyWidth, valueWidth] = widthsOf(extents, hardware);
  const products = backwardProducts(side, keyWidth, valueWidth);
  const engine = engineOf(draft, hardware, products, true);
  const parameters = {
    ...parametersOf(extents, side, engine.rows, CACHED.backward, kept),
    ...(kept && { blocks: kept.blocks, slopesLow: kept.low }),
  };
  const { K, V } = extents;
  const code: BackwardCode = {
    side,
    seeing: seeingOf(draft.kase),
    K,
    V,
    valueWidth,
    pairs: extents.L % 2 === 0,
    ...stretchOf(hardware),
    ...(kept && { keeps: true }),
  };
  add(draft, backwardBindings(code, engine, products), parameters, backwardCode(code, engine, products, parameters));
}

/** Where dS lies between the passes of a slice of heads. */
interface KeptBlocks {
  /** Blocks of 16 queries. */
  readonly blocks: number;
  /** First vector of the low parts. */
  readonly low: number;
}

/** Bytes of dS that are kept at a time, and workgroups of a slice of heads below which it takes longer than computing scores twice. */
const KEPT = 2 ** 29,
  BUSY = 256;

type MatrixHardware = Extract<Hardware, { readonly kind: "matrix units" }>;

interface Slices extends KeptBlocks {
  readonly hardware: MatrixHardware;
  readonly each: number;
  readonly keyTiles: number;
  readonly bytes: number;
}

/** Slices of key heads whose dS may be kept; undefined where it takes too much memory or too many buffers. */
function slicesOf({ kase, limits }: Draft, { key }: Readonly<Record<Side, Hardware>>): Slices | undefined {
  const bindings = isLabelled(seeingOf(kase)) ? 13 : 12;
  if (key.kind === "multiply-adds" || limits.buffers < bindings) return undefined;
  const { B, H, G, L, S } = extentsOf(kase);
  const { rows, columns } = key.tile;
  const keyTiles = Math.ceil(S / rows);
  const blocks = (Math.ceil(L / columns) * columns) / FRAGMENT;
  const vectors = (H / G) * keyTiles * blocks * rows * 2;
  const most = Math.floor(Math.min(KEPT, limits.bytes) / (16 * vectors * (key.terms === 3 ? 2 : 1)));
  const each = Math.min(B * G, most);
  if (each === 0 || (each < B * G && each * keyTiles < BUSY)) return undefined;
  const low = each * vectors;
  return { hardware: key, each, keyTiles, blocks, low, bytes: 16 * low * (key.terms === 3 ? 2 : 1) };
}

/** Slices of heads in turn: gradients of keys and values, which keep dS, then those of queries from it. */
function keptSlopes(draft: Draft, hardware: Readonly<Record<Side, Hardware>>, slices: Slices, given: number): void {
  const extents = extentsOf(draft.kase);
  const { B, H, G, K } = extents;
  const { terms, fragments, tile: kept } = slices.hardware;
  const tile = queryProducts(terms);
  const [keyWidth, valueWidth] = widthsOf(extents, hardware.key);
  const unit = queryProductsUnit(tile, { terms, fragments }, keyWidth);
  const code = { seeing: seeingOf(draft.kase), K, valueWidth, kept, ...stretchOf(slices.hardware) };
  take(draft, "slopes", slices.bytes, given);
  for (let from = 0; from < B * G; from += slices.each) {
    const count = Math.min(slices.each, B * G - from);
    gradientPass(draft, slices.hardware, "key", { ...slices, from, count });
    const parameters = {
      ...parametersOf(extents, "query", tile.rows, CACHED.backward, { from, count: (count * H) / G }),
      keyTiles: slices.keyTiles,
      blocks: slices.blocks,
      slopesLow: slices.low,
    };
    add(draft, queryProductsBindings(code), parameters, queryProductsCode(code, unit, parameters));
  }
}

/** Tile of the product of dS with keys. */
const queryProducts = (terms: Terms): MatrixTile => ({
  rows: 64,
  columns: terms === 3 ? 16 : 32,
  scores: { down: 2, across: 2 },
  sums: { down: 2, across: 2 },
});
