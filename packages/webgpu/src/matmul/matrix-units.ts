/** Matrix products of f16 on matrix units: when they are possible and worth while, and with which tiles. */
import { product, type Epilogue, type MatmulSpec } from "@seqmix/tensor/backend";
import { chooseDivision, epilogueCode, epilogueLength, OWN_KERNEL, PROCESSORS, storedAs } from "./program.js";
import type { GpuLimits, GpuProgram, Parameters } from "@seqmix/tensor/wgsl";
import { matrixUnitBytes, matrixUnitCode, matrixUnitThreads, type MatrixUnitTile } from "./matrix-unit-text.js";

/**
 * What a large GPU (132 processors) does with each tile, as for the tiles in f32. Speeds by the number of operands whose
 * neighbours follow k, of which a slice has no more than its depth in a row: none, one or both. After products of
 * 4096 x 4096 x 4096 on an H100.
 */
const TILES: readonly {
  readonly tile: MatrixUnitTile;
  readonly resident: number;
  readonly speeds: readonly [number, number, number];
}[] = [
  {
    tile: { rows: 128, columns: 256, depth: 32, block: { rows: 64, columns: 64 } },
    resident: 1,
    speeds: [127000, 118000, 108000],
  },
  {
    tile: { rows: 128, columns: 128, depth: 32, block: { rows: 64, columns: 64 } },
    resident: 2,
    speeds: [138000, 120000, 104000],
  },
  {
    tile: { rows: 128, columns: 128, depth: 64, block: { rows: 64, columns: 32 } },
    resident: 2,
    speeds: [115000, 115500, 116500],
  },
  {
    tile: { rows: 64, columns: 128, depth: 32, block: { rows: 32, columns: 64 } },
    resident: 3,
    speeds: [110000, 98500, 88500],
  },
  {
    tile: { rows: 64, columns: 64, depth: 64, block: { rows: 32, columns: 32 } },
    resident: 4,
    speeds: [88000, 88000, 88000],
  },
];
/** Elements that are read at once. */
const VECTOR = 8;

/**
 * Its buffers: both operands, the epilogue's inputs, the result.
 * @param ownKernel Multiply-adds from which the kernel is compiled for the shape alone.
 * @returns undefined where other tiles have to do it, or are faster.
 */
export function matrixUnitProgram(
  shape: MatmulSpec,
  limits: Pick<GpuLimits, "matrixUnits" | "workgroupBytes" | "threads">,
  epilogue?: Epilogue,
  ownKernel = OWN_KERNEL,
): GpuProgram | undefined {
  const { batch, m, n, k } = shape;
  const batches = product(batch);
  if (!limits.matrixUnits || shape.operands !== "f16" || batches * m * n * k === 0) return undefined;
  const a = operandOf("a", shape.a.row, shape.a.column, shape);
  const b = operandOf("b", shape.b.column, shape.b.row, shape);
  const tile = a && b && chooseTile(shape, Number(a.alongDepth) + Number(b.alongDepth), limits);
  if (!tile) return undefined;
  const [rows, columns] = [Math.ceil(m / tile.rows), Math.ceil(n / tile.columns)];
  const parameters: Parameters = {
    m,
    n,
    k,
    batches,
    rows,
    columns,
    ...a.parameters,
    ...b.parameters,
    ...Object.fromEntries(batch.map((extent, axis) => [`batch${axis}`, extent])),
  };
  const fixed = batches * m * n * k >= ownKernel;
  const code = matrixUnitCode(
    {
      tile,
      alongDepth: { a: a.alongDepth, b: b.alongDepth },
      batchAxes: batch.length,
      ragged: k % tile.depth !== 0,
      // fragments are stored whole where their rows begin at multiples of 16 bytes, and the result has room for one
      direct:
        epilogue || n % 4 !== 0 || m < tile.rows || n < tile.columns
          ? "never"
          : m % tile.rows === 0 && n % tile.columns === 0
            ? "always"
            : "inside",
      result: storedAs(epilogue),
      ...(epilogue && { epilogue: epilogueCode(epilogue) }),
    },
    fixed ? {} : parameters,
  );
  const extra = epilogue?.inputs.map((_, q) => 2 + q) ?? [];
  return {
    name: `matmul ${batches > 1 ? `${batches} x ` : ""}${m}x${n}x${k}, ${tile.rows}x${tile.columns}x${tile.depth} tiles on matrix units${epilogue ? `, then ${epilogueLength(epilogue)}` : ""}`,
    passes: [
      {
        code: fixed ? code.replace(/\bp\.(\w+)/g, (_, parameter: string) => String(parameters[parameter])) : code,
        buffers: [
          { buffer: 0, access: "read" },
          { buffer: 1, access: "read" },
          { buffer: 2 + extra.length, access: "read_write" },
          ...extra.map((buffer) => ({ buffer, access: "read" }) as const),
        ],
        ...(!fixed && { parameters }),
        groups: batches * rows * columns,
      },
    ],
    scratch: [],
  };
}

/** The tile with which the product is done first, unless plain tiles are faster: they divide k where the result is small. */
function chooseTile(
  shape: MatmulSpec,
  alongDepth: number,
  { workgroupBytes, threads }: Pick<GpuLimits, "workgroupBytes" | "threads">,
): MatrixUnitTile | undefined {
  const { batch, m, n, k } = shape;
  let best: { readonly tile?: MatrixUnitTile; readonly time: number } = {
    time: chooseDivision(shape, workgroupBytes).time,
  };
  for (const { tile, resident, speeds } of TILES) {
    if (matrixUnitBytes(tile) > workgroupBytes || matrixUnitThreads(tile) > threads) continue;
    const rounds = Math.ceil(
      (product(batch) * Math.ceil(m / tile.rows) * Math.ceil(n / tile.columns)) / (PROCESSORS * resident),
    );
    const time = (rounds * PROCESSORS * resident * tile.rows * tile.columns * k) / speeds[alongDepth]!;
    if (time < best.time) best = { tile, time };
  }
  return best.tile;
}

/** How an operand is read, with its strides from line (row of a, column of b) to line and along k; undefined if not in whole vectors. */
function operandOf(
  name: "a" | "b",
  line: number,
  inner: number,
  shape: MatmulSpec,
): { readonly alongDepth: boolean; readonly parameters: Parameters } | undefined {
  const {
    m,
    n,
    k,
    [name]: { offset = 0, batch },
  } = shape;
  const lineStride = (name === "a" ? m : n) === 1 ? 0 : line;
  const innerStride = k === 1 ? 0 : inner;
  const aligned = (...strides: readonly number[]): boolean => strides.every((stride) => stride % VECTOR === 0);
  if (!aligned(offset, ...batch)) return undefined;
  const alongDepth = innerStride === 1 && aligned(lineStride, k);
  if (!alongDepth && !(lineStride === 1 && aligned(innerStride))) return undefined;
  return {
    alongDepth,
    parameters: {
      [`${name}Offset`]: offset / VECTOR,
      // the unit stride itself is not used: vectors follow it
      [`${name}Line`]: alongDepth ? lineStride / VECTOR : 1,
      [`${name}Inner`]: alongDepth ? 1 : innerStride / VECTOR,
      ...Object.fromEntries(batch.map((stride, axis) => [`${name}Batch${axis}`, stride / VECTOR])),
    },
  };
}
