/**
 * updates [rows, inner] added into zeros [size, inner] by index, always in the order of the rows. Many result rows: see
 * scatter-sorted.ts. Of few, a workgroup collects for one
 * result row what belongs to it: it compares the indices a tile at a time and adds the few rows that match. Where there
 * are few result rows, the updates are divided among several workgroups and their results summed in a second pass.
 */
import { onDemand } from "@seqmix/tensor/backend";
import { loopPass } from "../loops/text.js";
import {
  bytesOf,
  declare,
  declareParameters,
  entryPoint,
  type GpuLimits,
  type GpuPass,
  type GpuProgram,
} from "@seqmix/tensor/wgsl";

export interface ScatterShape {
  readonly rows: number;
  readonly inner: number;
  readonly size: number;
}

const sorted = onDemand(() => import("./scatter-sorted.js"));

const FULL_GROUPS = 528,
  SHORTEST_PART = 1024;

/**
 * Buffers: updates, indices, result.
 * @param limits What a pass may bind.
 */
export function scatterAddProgram({ rows, inner, size }: ScatterShape, limits: Pick<GpuLimits, "bytes">): GpuProgram {
  const name = `scatterAdd ${rows} into ${size} rows of ${inner}`;
  if (size * inner === 0) return { name, passes: [], scratch: [] };
  const threads = inner > 128 ? 256 : inner > 64 ? 128 : 64;
  const blocks = Math.ceil(inner / threads);
  const wanted = Math.min(Math.ceil(FULL_GROUPS / (size * blocks)), Math.floor(rows / SHORTEST_PART));
  // Comparing every row with every index is worth while for few result rows only.
  const fits = bytesOf(rows * inner) <= limits.bytes && bytesOf(size * inner * Math.max(1, wanted)) <= limits.bytes;
  if (wanted < 2 || !fits) return sorted().sortedScatterProgram({ rows, inner, size }, limits);
  const length = Math.ceil(rows / wanted);
  const parts = Math.max(1, Math.ceil(rows / length));
  const words = threads / 32;
  const parameters = { rows, inner, size, blocks, length, parts };
  // The word whose bits say which of the tile's rows match; workgroup memory that an atomic writes is read by one.
  const code = `${declare(0, "updates", "read", "f32")}${declare(1, "indices", "read", "i32")}${declare(2, "result", "read_write", "f32")}${declareParameters(3, parameters)}var<workgroup> matches: array<atomic<u32>, ${words}>;
${entryPoint(
  threads,
  `let target_ = i32(group) % p.size;
let block = i32(group) / p.size % p.blocks;
let part = i32(group) / (p.size * p.blocks);
if (part >= p.parts) { return; }
let column = block * ${threads} + i32(thread);
let last = min(p.rows, (part + 1) * p.length);
var sum = 0.0;
for (var first = part * p.length; first < last; first += ${threads}) {
  if (thread < ${words}u) { atomicStore(&matches[thread], 0u); }
  workgroupBarrier();
  let row = first + i32(thread);
  if ((row < last) & (clamp(indices[row], 0, p.size - 1) == target_)) { atomicOr(&matches[thread / 32u], 1u << (thread % 32u)); }
  workgroupBarrier();
  for (var word = 0; word < ${words}; word++) {
    var bits = atomicLoad(&matches[word]);
    while (bits != 0u) {
      sum += updates[(first + word * 32 + i32(countTrailingZeros(bits))) * p.inner + column];
      bits &= bits - 1u;
    }
  }
  workgroupBarrier();
}
if (column < p.inner) { result[(part * p.size + target_) * p.inner + column] = sum; }`,
)}`;
  const first: GpuPass = {
    code,
    parameters,
    buffers: [
      { buffer: 0, access: "read" },
      { buffer: 1, access: "read" },
      { buffer: parts > 1 ? 3 : 2, access: "read_write" },
    ],
    groups: size * blocks * parts,
  };
  if (parts === 1) return { name, passes: [first], scratch: [] };
  const total = size * inner;
  const second = loopPass(
    {
      extents: [total],
      reduceExtents: [parts],
      inputs: [{ dtype: "f32", size: total * parts }],
      reductions: [
        {
          combine: "sum",
          value: { op: "load", dtype: "f32", input: 0, index: { offset: 0, coefficients: [1, total] } },
        },
      ],
      outputs: [{ dtype: "f32", value: { op: "reduced", dtype: "f32", reduction: 0 } }],
    },
    "serial",
    { inputs: [3], outputs: [2] },
    64,
  );
  return { name: `${name}, ${parts} parts`, passes: [first, second], scratch: [bytesOf(total * parts)] };
}
