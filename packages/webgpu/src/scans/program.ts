/**
 * h_t = a_t h_(t-1) + b_t along the middle axis of [outer, length, inner], and running sums (all a_t = 1).
 *
 * The axis is cut into chunks where there are too few rows to keep the device busy. Three passes then: what each chunk
 * does to a state (h -> A h + B), the state before each chunk, and the results. A chunk is run by one thread if rows are short or
 * neighbouring rows lie beside each other in memory, else by a workgroup that loads tiles of it and scans them in a tree.
 */
import {
  bytesOf,
  declare,
  declareParameters,
  entryPoint,
  type GpuBinding,
  type GpuPass,
  type GpuProgram,
  type GpuParameters,
} from "@seqmix/tensor/wgsl";

export interface ScanShape {
  readonly outer: number;
  readonly length: number;
  readonly inner: number;
  readonly reverse: boolean;
  /** false: running sums, whose only input is b. */
  readonly decays: boolean;
  /** Whether the last input is the state before the first element, [outer, inner]. */
  readonly initial: boolean;
  /** A decay of 0 forgets the state before it, infinite or not. */
  readonly forgets?: boolean | undefined;
  /** Elements that lie before the first one in what is bound of values and results. */
  readonly before?: number;
}

/** Threads and workgroups that keep a large GPU busy. */
const FULL_THREADS = 131072,
  FULL_GROUPS = 528;
/** Rows beside each other from which on a thread a row reads memory well. */
const BESIDE = 16;
/** A row too short for a workgroup. */
const SHORT = 64;
const SHORTEST_CHUNK = 16,
  MOST_CHUNKS = 256;
const THREADS = 256,
  EACH = 4,
  TILE = THREADS * EACH;

interface Chunks extends ScanShape {
  readonly chunks: number;
  readonly steps: number;
}

/** Buffers: (a,) b (, h0), h. */
export function scanProgram(shape: ScanShape): GpuProgram {
  const { outer, length, inner, decays, initial } = shape;
  const rows = outer * inner;
  const byThread = inner >= BESIDE || length <= SHORT;
  const wanted = byThread
    ? Math.min(Math.ceil(FULL_THREADS / rows), Math.floor(length / SHORTEST_CHUNK), MOST_CHUNKS)
    : Math.min(Math.ceil(FULL_GROUPS / rows), Math.ceil(length / TILE));
  const unit = byThread ? 1 : TILE;
  const steps = Math.ceil(Math.ceil(length / Math.max(1, wanted)) / unit) * unit;
  const chunked: Chunks = { ...shape, steps, chunks: Math.ceil(length / steps) };
  const { chunks } = chunked;
  const name = `${decays ? "scan" : "running sum"} ${outer} x ${length} x ${inner}, ${chunks} chunk${chunks === 1 ? "" : "s"} a row, a ${byThread ? "thread" : "workgroup"} each`;

  const values = decays ? [0, 1] : [0];
  const h0 = initial ? [values.length] : [];
  const out = values.length + h0.length;
  const [endA, endB, state] = [out + 1, out + 2, out + 3];
  const groups = byThread ? Math.ceil((rows * chunks) / 64) : rows * chunks;
  const chunkCode = byThread ? threadChunk : groupChunk;
  const parameters = parametersOf(chunked);
  const pass = (code: string, read: readonly number[], write: readonly number[], groups: number): GpuPass => ({
    code,
    parameters,
    buffers: [
      ...read.map((buffer): GpuBinding => ({ buffer, access: "read" })),
      ...write.map((buffer): GpuBinding => ({ buffer, access: "read_write" })),
    ],
    groups,
  });
  if (chunks === 1)
    return { name, passes: [pass(chunkCode(chunked, "all"), [...values, ...h0], [out], groups)], scratch: [] };
  const bytes = bytesOf(rows * chunks);
  return {
    name,
    passes: [
      pass(chunkCode(chunked, "ends"), values, decays ? [endA, endB] : [endB], groups),
      pass(
        statesCode(chunked),
        [...(decays ? [endA] : []), endB, ...h0, ...(decays ? values : [])],
        [state],
        Math.ceil(rows / 64),
      ),
      pass(chunkCode(chunked, "results"), [...values, state], [out], groups),
    ],
    scratch: [bytes, bytes, bytes],
  };
}

/** A row's element s is at origin + s direction. */
function parametersOf({ outer, length, inner, reverse, chunks, steps, before = 0 }: Chunks): GpuParameters {
  return {
    inner,
    length,
    chunks,
    steps,
    rows: outer * inner,
    total: outer * inner * chunks,
    origin: before + (reverse ? (length - 1) * inner : 0),
    direction: reverse ? -inner : inner,
  };
}

/** all: from the initial state. ends: what the chunk does to a state. results: from the state before the chunk. */
type Task = "all" | "ends" | "results";

/** Declarations of the buffers of a chunk's pass, and where its state starts. */
function buffersOf(shape: Chunks, task: Task): { text: string; start: string } {
  const { decays, initial } = shape;
  const reads = [...(decays ? ["a"] : []), "b"];
  if (task === "all" && initial) reads.push("h0");
  if (task === "results") reads.push("states");
  const writes = task === "ends" ? [...(decays ? ["endA"] : []), "endB"] : ["h"];
  return {
    text: declareAll(reads, writes, shape),
    start: task === "results" ? "states[chunk]" : task === "all" && initial ? "h0[outer * p.inner + inner]" : "0.0",
  };
}

/** decay times a state: 0 where the decay is 0 and forgets. */
const keptText = ({ forgets }: ScanShape, decay: string, state: string): string =>
  forgets ? `select(${decay} * ${state}, 0.0, ${decay} == 0.0)` : `${decay} * ${state}`;

/** Products below this have lost digits, or all but: they are none where decays of the stretch grow. */
const VANISHING = "3e-36";
const INFINITE = "bitcast<f32>(select(0x7f800000u, 0u, p.length == 0))";

/**
 * Whether a product of decays says what a stretch does to a state: not where it overflowed, nor where something was forgotten,
 * nor where it may have been too small for a number on the way and the state is so large that it matters.
 */
const isWhole = ({ forgets }: ScanShape, product: string, state: string): string =>
  `((bitcast<u32>(${product}) & 0x7f800000u) != 0x7f800000u) & ((abs(${product}) > 1e-30) | (abs(${state}) < 1e7))${forgets ? ` & (${product} != 0.0)` : ""}`;

const declareAll = (reads: readonly string[], writes: readonly string[], shape: Chunks): string =>
  [
    ...reads.map((name, k) => declare(k, name, "read", "f32")),
    ...writes.map((name, k) => declare(reads.length + k, name, "read_write", "f32")),
    declareParameters(reads.length + writes.length, parametersOf(shape)),
  ].join("");

/** Splits `chunk`, which counts [outer, chunks, inner]; element s of its row is at start + s p.direction. */
const PLACES = `if (chunk >= p.total) { return; }
let inner = chunk % p.inner;
let first = chunk / p.inner % p.chunks * p.steps;
let outer = chunk / (p.inner * p.chunks);
let last = min(first + p.steps, p.length);
let start = outer * p.length * p.inner + inner + p.origin;`;

function threadChunk(shape: Chunks, task: Task): string {
  const { text, start } = buffersOf(shape, task);
  const { decays } = shape;
  const ends = task === "ends";
  const ifProducts = (code: string): string => (ends && decays ? code : "");
  return (
    text +
    entryPoint(
      64,
      `let chunk = i32(group * 64u + thread);
${PLACES}
var current = ${start};
${ifProducts("var decay = 1.0;\nvar smallest = 1.0;\nvar largest = 0.0;\n")}for (var step = first; step < last; step++) {
  let at = start + step * p.direction;
${ifProducts("  decay = select(decay * a[at], 0.0, a[at] == 0.0);\n  smallest = min(smallest, abs(decay));\n  largest = max(largest, abs(a[at]));\n")}  current = ${decays ? `${keptText(shape, "a[at]", "current")} + b[at]` : "current + b[at]"};
${ends ? "" : "  h[at] = current;\n"}}
${ends ? `${ifProducts(`endA[chunk] = select(decay, ${INFINITE}, (smallest < ${VANISHING}) & (largest > 1.0));\n`)}endB[chunk] = current;` : ""}`,
    )
  );
}

function groupChunk(shape: Chunks, task: Task): string {
  const { text, start } = buffersOf(shape, task);
  const { decays } = shape;
  const ifDecays = (code: string): string => (decays ? code : "");
  const scan = `    let n = sumB[thread];
    var before = 0.0;
${ifDecays("    var decay = 1.0;\n    let m = sumA[thread];\n")}    if (thread >= distance) {
      before = sumB[thread - distance];
${ifDecays("      decay = sumA[thread - distance];\n")}    }
    workgroupBarrier();
    sumB[thread] = ${decays ? "m * before + n" : "before + n"};
${ifDecays("    sumA[thread] = m * decay;\n    smallest = min(smallest, abs(m * decay));\n")}    workgroupBarrier();`;
  const tile = `  let base = tile + i32(thread);
  for (var k = 0; k < ${EACH}; k++) {
    let step = base + k * ${THREADS};
    let at = start + step * p.direction;
    let slot = padded(i32(thread) + k * ${THREADS});
${ifDecays("    tileA[slot] = select(1.0, a[at], step < last);\n")}    tileB[slot] = select(0.0, b[at], step < last);
  }
  workgroupBarrier();
  var endOfPart = 0.0;
${ifDecays("  var decayOfPart = 1.0;\n  var smallest = 1.0;\n  var largest = 0.0;\n")}  for (var k = 0; k < ${EACH}; k++) {
    let slot = padded(i32(thread) * ${EACH} + k);
    endOfPart = ${decays ? "tileA[slot] * endOfPart + tileB[slot]" : "endOfPart + tileB[slot]"};
${ifDecays("    decayOfPart *= tileA[slot];\n    smallest = min(smallest, abs(decayOfPart));\n    largest = max(largest, abs(tileA[slot]));\n")}  }
  sumB[thread] = endOfPart;
${ifDecays("  sumA[thread] = decayOfPart;\n")}  workgroupBarrier();
  for (var distance = 1u; distance < ${THREADS}u; distance *= 2u) {
${scan}
  }
${ifDecays(`  if ((bitcast<u32>(sumA[thread]) & 0x7f800000u) == 0x7f800000u) { atomicStore(&overflowed, tile + 1); }
  if (smallest < ${VANISHING}) { atomicStore(&vanished, tile + 1); }
  if (largest > 1.0) { atomicStore(&grown, tile + 1); }
  workgroupBarrier();
  let composed = sumA[${THREADS - 1}];
  let vanishes = atomicLoad(&vanished) == tile + 1;
  let grows = atomicLoad(&grown) == tile + 1;
  let whole = (atomicLoad(&overflowed) != tile + 1) & !(vanishes & grows) & ${isWhole(shape, "composed", "carry")};
  // where products do not say it, step by step
  if (!whole & (thread == 0u)) {
    var current = carry;
    for (var k = 0; k < ${TILE}; k++) {
      let slot = padded(k);
      current = ${keptText(shape, "tileA[slot]", "current")} + tileB[slot];
      tileB[slot] = current;
    }
    sumB[${THREADS - 1}] = current;
  }
`)}${
    task === "ends"
      ? ifDecays("  workgroupBarrier();\n")
      : `${decays ? "  if (whole) {\n" : "  {\n"}    var current = carry;
    if (thread > 0u) { current = ${decays ? "sumA[thread - 1u] * carry + sumB[thread - 1u]" : "carry + sumB[thread - 1u]"}; }
    for (var k = 0; k < ${EACH}; k++) {
      let slot = padded(i32(thread) * ${EACH} + k);
      current = ${decays ? "tileA[slot] * current + tileB[slot]" : "current + tileB[slot]"};
      tileB[slot] = current;
    }
  }
  workgroupBarrier();
  for (var k = 0; k < ${EACH}; k++) {
    let step = base + k * ${THREADS};
    if (step < last) { h[start + step * p.direction] = tileB[padded(i32(thread) + k * ${THREADS})]; }
  }
`
  }  carry = ${decays ? `select(sumB[${THREADS - 1}], composed * carry + sumB[${THREADS - 1}], whole)` : `carry + sumB[${THREADS - 1}]`};
${task === "ends" ? ifDecays(`  decayOfChunk *= composed;\n  vanishesInChunk = vanishesInChunk | vanishes | (abs(decayOfChunk) < ${VANISHING});\n  growsInChunk = growsInChunk | grows;\n`) : ""}  workgroupBarrier();`;
  const shared = (name: string, size: number): string => `var<workgroup> ${name}: array<f32, ${size}>;\n`;
  const memory = `${ifDecays(`${shared("tileA", TILE + TILE / 32)}${shared("sumA", THREADS)}// the last tile in which a product overflowed, one vanished, a decay grows, and 1\nvar<workgroup> overflowed: atomic<i32>;\nvar<workgroup> vanished: atomic<i32>;\nvar<workgroup> grown: atomic<i32>;\n`)}${shared("tileB", TILE + TILE / 32)}${shared("sumB", THREADS)}`;
  return `${text}${memory}// one slot left out after every 32, so that threads that run along the tile use different banks
fn padded(k: i32) -> i32 { return k + k / 32; }
${entryPoint(
  THREADS,
  `let chunk = i32(group);
${PLACES}
var carry = ${start};
${task === "ends" ? ifDecays("var decayOfChunk = 1.0;\nvar vanishesInChunk = false;\nvar growsInChunk = false;\n") : ""}for (var tile = first; tile < last; tile += ${TILE}) {
${tile}
}
${
  task === "ends"
    ? `if (thread == 0u) {
${ifDecays(`  endA[chunk] = select(decayOfChunk, ${INFINITE}, vanishesInChunk & growsInChunk);\n`)}  endB[chunk] = carry;
}`
    : ""
}`,
)}`;
}

/**
 * The state before each chunk of a row, one row a thread. Where the product of a chunk's decays does not say what becomes of
 * the state before it, the chunk is run again from that state.
 */
function statesCode(shape: Chunks): string {
  const { decays, initial } = shape;
  const reads = [...(decays ? ["endA"] : []), "endB", ...(initial ? ["h0"] : []), ...(decays ? ["a", "b"] : [])];
  const next = decays
    ? `  let product = endA[at];
  let zero = current == 0.0;
  if ((${isWhole({ ...shape, forgets: false }, "product", "current")}) | zero) {
    current = select(product * current, 0.0, zero) + endB[at];
  } else {
    for (var step = chunk * p.steps; step < min((chunk + 1) * p.steps, p.length); step++) {
      let place = start + step * p.direction;
      current = ${keptText(shape, "a[place]", "current")} + b[place];
    }
  }`
    : "  current = current + endB[at];";
  return `${declareAll(reads, ["states"], shape)}${entryPoint(
    64,
    `let row = i32(group * 64u + thread);
if (row >= p.rows) { return; }
var current = ${initial ? "h0[row]" : "0.0"};
let start = row / p.inner * p.length * p.inner + row % p.inner + p.origin;
var at = row / p.inner * p.inner * p.chunks + row % p.inner;
for (var chunk = 0; chunk < p.chunks; chunk++) {
  states[at] = current;
${next}
  at += p.inner;
}`,
  )}`;
}
