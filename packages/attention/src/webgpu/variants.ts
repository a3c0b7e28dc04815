/** Which program runs a call on the WebGPU device. */
import type { GpuVariant } from "@seqmix/tensor";
import { matrixUnits, type GpuLimits } from "@seqmix/tensor/wgsl";
import type { AttentionOptions } from "../options.js";
import { backwardProducts, type Side } from "./backward.js";
import type { Products } from "./engine.js";
import { fmaBytes, type FmaTile } from "./fma-engine.js";
import { forwardProducts } from "./forward.js";
import { matrixBytes, type Grid, type MatrixTile, type Terms } from "./matrix-layout.js";
import { backwardProgram, extentsOf, forwardProgram, isHalf, widthsOf, type Case, type Hardware } from "./programs.js";

/** Entries of a head that a tile's sums have room for. */
const WIDEST = 256,
  WIDEST_OF_MATRIX_UNITS = 128;
/** Queries a head below which there is no tile to fill, and keys from which that counts. */
const FEW = 8,
  MANY = 128;
/** Buffers of the largest pass on matrix units. */
const BUFFERS = 12;

const tile = (rows: number, columns: number, scores: Grid, sums: Grid = scores): MatrixTile => ({
  rows,
  columns,
  scores,
  sums,
});
const grid = (down: number, across: number): Grid => ({ down, across });

/** Fastest first, after an H200; the first whose blocks fit into workgroup memory is taken. */
const matrixTiles: Readonly<Record<"forward" | Side, Readonly<Record<Terms, readonly MatrixTile[]>>>> = {
  forward: {
    1: [tile(128, 32, grid(4, 2)), tile(64, 16, grid(4, 1))],
    3: [tile(64, 16, grid(4, 1), grid(2, 2))],
  },
  query: {
    1: [tile(64, 16, grid(4, 1), grid(2, 2))],
    3: [tile(128, 16, grid(8, 1), grid(4, 2)), tile(64, 16, grid(4, 1), grid(2, 2))],
  },
  key: {
    1: [
      { ...tile(128, 16, grid(8, 1), grid(4, 2)), apart: true },
      tile(128, 16, grid(8, 1), grid(4, 2)),
      tile(64, 16, grid(4, 1), grid(2, 2)),
    ],
    3: [tile(128, 16, grid(8, 1), grid(4, 2)), tile(64, 16, grid(4, 1), grid(2, 2))],
  },
};
const fmaTiles: readonly FmaTile[] = [
  { rows: 64, columns: 32 },
  { rows: 32, columns: 32 },
];

const productsOf = (of: "forward" | Side, hardware: Hardware, kase: Case): Products => {
  const [keyWidth, valueWidth] = widthsOf(extentsOf(kase), hardware);
  return of === "forward" ? forwardProducts(keyWidth, valueWidth) : backwardProducts(of, keyWidth, valueWidth);
};

/** Refusals that both kinds of hardware share. */
function refusal(kase: Case, limits: GpuLimits, widest: number): string | undefined {
  const { B, H, G, L, S, K, V } = extentsOf(kase);
  const empty = Object.entries({ B, H, G, L, S, K, V }).filter(([, extent]) => extent === 0);
  if (empty.length > 0) return `axis ${empty.map(([axis]) => axis).join(" and ")} is empty`;
  if (Math.max(K, V) > widest) return `expected at most ${widest} entries a head, got ${Math.max(K, V)}`;
  if (L < FEW && S >= MANY)
    return `expected at least ${FEW} queries, got ${L}: they read ${S} keys faster as rows of one product`;
  const bytes = 4 * Math.max(B * H * L, B * G * S) * Math.max(K, V);
  if (bytes > limits.bytes) return `expected tensors of at most ${limits.bytes} bytes, got ${bytes}`;
  return kase.cotangents.size > 0 && !kase.cotangents.has("out") ? "expected a cotangent of out, got none" : undefined;
}

function fmaHardware(of: "forward" | Side, kase: Case, limits: GpuLimits): Hardware {
  const all = fmaTiles.map((each): Hardware & { readonly tile: FmaTile } => ({ kind: "multiply-adds", tile: each }));
  return all.find((each) => fmaBytes(each.tile, productsOf(of, each, kase)) <= limits.workgroupBytes) ?? all.at(-1)!;
}

/** Tiles of f32 multiply-adds, for every adapter. */
export const attentionOnGpu: GpuVariant<AttentionOptions> = {
  device: "webgpu",
  name: "online softmax on multiply-adds",
  supports: (kase, limits) => refusal(kase, limits, WIDEST) ?? true,
  forward: (kase, limits) => forwardProgram(kase, limits, fmaHardware("forward", kase, limits)),
  backward: (kase, limits) =>
    backwardProgram(kase, limits, {
      query: fmaHardware("query", kase, limits),
      key: fmaHardware("key", kase, limits),
    }),
};

function matrixHardware(of: "forward" | Side, kase: Case, limits: GpuLimits): Hardware | undefined {
  const terms: Terms = isHalf(kase) || limits.products === "tf32" ? 1 : 3;
  const { fragments = matrixUnits } = limits;
  for (const each of matrixTiles[of][terms]) {
    const hardware: Hardware = { kind: "matrix units", tile: each, terms, fragments };
    if (matrixBytes(each, terms, productsOf(of, hardware, kase)) <= limits.workgroupBytes) return hardware;
  }
  return undefined;
}

/** Tiles on matrix units. */
export const attentionOnMatrixUnits: GpuVariant<AttentionOptions> = {
  device: "webgpu",
  name: "online softmax on matrix units",
  needs: `matrix units and ${BUFFERS} buffers a kernel`,
  supports(kase, limits) {
    if (!limits.matrixUnits) return "expected matrix units, got an adapter without";
    const shared = refusal(kase, limits, WIDEST_OF_MATRIX_UNITS);
    if (shared !== undefined) return shared;
    if (limits.buffers < BUFFERS) return `expected ${BUFFERS} buffers a kernel, got ${limits.buffers}`;
    if (kase.cotangents.has("logSumExp")) return "expected a cotangent of out alone, got one of logSumExp";
    const passes = kase.cotangents.size > 0 ? (["query", "key"] as const) : (["forward"] as const);
    return passes.every((of) => matrixHardware(of, kase, limits))
      ? true
      : `expected more than ${limits.workgroupBytes} bytes of workgroup memory`;
  },
  forward: (kase, limits) => forwardProgram(kase, limits, matrixHardware("forward", kase, limits)!),
  backward: (kase, limits) =>
    backwardProgram(kase, limits, {
      query: matrixHardware("query", kase, limits)!,
      key: matrixHardware("key", kase, limits)!,
    }),
};
