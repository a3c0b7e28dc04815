/**
 * Products with at most four rows or columns whose operands both run along k in memory, such as a linear layer with
 * weights [out, in] at a single position: every element of C is a dot product, vectorised along k, no packing.
 */
import {
  brIf,
  call,
  f32x4,
  forLoop,
  functionBuilder,
  i32,
  i32x4,
  loop,
  select,
  shuffle32,
  v128,
  when,
  whileLoop,
  type Code,
  type Local,
  type WasmFunction,
} from "../wasm/emitter.js";
import { multiplyAdd } from "../wasm/multiply-add.js";
import { displaced } from "./code.js";
import { argumentOf, batchOffset, type Matmul, type Places, type ProgramParts } from "./form.js";

/** Multiplications a thread should take at once; these products wait for memory. */
const GRAIN = 32_768;

/**
 * Bytes of a matrix that is read from memory, not from a cache: a vector is multiplied with one line of it after another then,
 * which is read ahead, where several lines side by side are not.
 */
const STREAMED = 2 ** 22;

export function takesDotProducts({ m, n, k, a, b }: Matmul): boolean {
  return a.column === 1 && b.row === 1 && (m <= 4 || n <= 4) && k >= 8;
}

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

export function dotParts(mm: Matmul, places: Places): ProgramParts {
  const { m, n, k, a, b, batches } = mm;
  // At most 6 sums at once: with 8, V8 spills.
  const byRows = n <= 4;
  const most = Math.min(m, n) === 1 && 4 * m * n * k >= STREAMED ? 1 : 6;
  const tileRows = byRows ? Math.floor(most / n) : m;
  const tileColumns = byRows ? n : Math.floor(most / m);
  const tileWork = tileRows * tileColumns * k;
  const tilesInUnit = Math.max(1, Math.floor(GRAIN / tileWork));
  const rows = byRows ? Math.min(m, tileRows * tilesInUnit) : m;
  const columns = byRows ? n : Math.min(n, tileColumns * tilesInUnit);
  const rowBlocks = Math.ceil(m / rows);
  const columnBlocks = Math.ceil(n / columns);

  const functions: WasmFunction[] = [];
  const tile = (tileM: number, tileN: number): number =>
    functions.push(
      most === 1 && k % 16 === 0 ? streamedDot(k) : dotFunction(`dot${tileM}x${tileN}`, tileM, tileN, mm),
    ) - 1;
  const full = m >= tileRows && n >= tileColumns ? tile(tileRows, tileColumns) : undefined;
  const last = byRows
    ? m % tileRows === 0
      ? undefined
      : tile(m % tileRows, n)
    : n % tileColumns === 0
      ? undefined
      : tile(m, n % tileColumns);

  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const [args, begin, end] = f.params;
  const local = () => f.local("i32");
  const [batch, rest, i, iEnd, aBase, bBase, cBase] = [
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
  ] as const;
  // One index runs over rows or columns, whichever are many.
  const [size, block, step, stride, base] = byRows
    ? ([m, rows, tileRows, 4 * a.row, aBase] as const)
    : ([n, columns, tileColumns, 4 * b.column, bBase] as const);
  const cStride = byRows ? 4 * n : 4;
  const at = (which: Local): Code =>
    which === base ? i32.add(which.get, i32.mul(i.get, i32.const(stride))) : which.get;
  const run = (position: number): Code =>
    call(position, at(aBase), at(bBase), i32.add(cBase.get, i32.mul(i.get, i32.const(cStride))));
  const inFull = i32.leS(i.get, i32.sub(iEnd.get, i32.const(step)));
  const body = forLoop(begin, end, 1, [
    batch.set(i32.divU(begin.get, i32.const(rowBlocks * columnBlocks))),
    rest.set(i32.remU(begin.get, i32.const(rowBlocks * columnBlocks))),
    i.set(i32.mul(rest.get, i32.const(block))),
    iEnd.set(i32.add(i.get, i32.const(block))),
    iEnd.set(select(iEnd.get, i32.const(size), i32.ltS(iEnd.get, i32.const(size)))),
    aBase.set(i32.add(i32.load(args.get, argumentOf(mm, "a")), batchOffset(mm, "a", batch))),
    bBase.set(i32.add(i32.load(args.get, argumentOf(mm, "b")), batchOffset(mm, "b", batch))),
    cBase.set(i32.add(i32.load(args.get, places.result), i32.mul(batch.get, i32.const(4 * m * n)))),
    full === undefined ? [] : whileLoop(inFull, [run(full), i.set(i32.add(i.get, i32.const(step)))]),
    last === undefined ? [] : when(i32.ltS(i.get, iEnd.get), run(last)),
  ]);
  functions.push(f.finish("dot", body));
  const units = batches * rowBlocks * columnBlocks;
  const grain = Math.max(1, Math.floor(GRAIN / (rows * columns * k)));
  return { functions, phases: [{ run: "dot", units, grain }], scratchBytes: 0, sharedBytes: 0 };
}

/** What runs along k: the sums of a step, of which the last one may be masked, and what becomes of them. */
interface Dots {
  readonly step: (masked: boolean) => Code;
  readonly after: Code;
}

/** (a, b, c): a loop along k, `width` elements a step. */
function alongDepth(
  name: string,
  k: number,
  width: number,
  write: (local: () => Local, left: Local, right: Local, c: Local) => Dots,
): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32"]);
  const [left, right, c] = f.params;
  const end = f.local("i32");
  const { step, after } = write(() => f.local("v128"), left, right, c);
  const tail = k % width;
  return f.finish(name, [
    end.set(i32.add(left.get, i32.const(4 * (k - tail)))),
    loop([
      step(false),
      right.set(i32.add(right.get, i32.const(4 * width))),
      brIf(0, i32.ne(left.tee(i32.add(left.get, i32.const(4 * width))), end.get)),
    ]),
    tail === 0 ? [] : step(true),
    after,
  ]);
}

/** A tile of C from whole rows of A and columns of B: a sum an element. */
const dotFunction = (name: string, rows: number, columns: number, { n, k, a, b }: Matmul): WasmFunction =>
  alongDepth(name, k, 4, (local, left, right, c) => {
    const sums = range(rows * columns).map(local);
    const lefts = range(rows).map(local);
    const rights = range(columns).map(local);
    const tail = k % 4;
    const mask = i32x4.const(-1, tail > 1 ? -1 : 0, tail > 2 ? -1 : 0, 0);
    const read = (from: Local, bytes: number, masked: boolean): Code => {
      const vector = v128.load(...displaced(from, bytes));
      return masked ? v128.and(vector, mask) : vector;
    };
    const offsets = sums.map((_, at) => 4 * (Math.floor(at / columns) * n + (at % columns)));
    const groups = range(Math.ceil(sums.length / 4)).map((group) => ({
      of: sums.slice(4 * group, 4 * group + 4),
      to: offsets.slice(4 * group, 4 * group + 4),
    }));
    return {
      step: (masked) => [
        lefts.map((x, i) => x.set(read(left, 4 * a.row * i, masked))),
        rights.map((y, j) => [
          y.set(read(right, 4 * b.column * j, masked)),
          lefts.map((x, i) => {
            const sum = sums[i * columns + j] as Local;
            return sum.set(multiplyAdd(x.get, y.get, sum.get));
          }),
        ]),
      ],
      after: groups.map(({ of, to }) => {
        const result = of[0] as Local;
        const contiguous = of.length === 4 && (to[3] ?? 0) - (to[0] ?? 0) === 12;
        return [
          result.set(laneSums(of)),
          contiguous
            ? v128.store(c.get, result.get, to[0] ?? 0)
            : to.map((offset, lane) => v128.store32Lane(c.get, result.get, lane, offset)),
        ];
      }),
    };
  });

/** One element of C, in four sums at once. */
const streamedDot = (k: number): WasmFunction =>
  alongDepth("streamedDot", k, 16, (local, left, right, c) => {
    const sums = range(4).map(local);
    const [first, second, third, fourth] = sums as [Local, Local, Local, Local];
    return {
      step: () =>
        sums.map((sum, at) =>
          sum.set(
            multiplyAdd(v128.load(...displaced(left, 16 * at)), v128.load(...displaced(right, 16 * at)), sum.get),
          ),
        ),
      after: [
        first.set(f32x4.add(f32x4.add(first.get, second.get), f32x4.add(third.get, fourth.get))),
        first.set(laneSums([first])),
        v128.store32Lane(c.get, first.get, 0, 0),
      ],
    };
  });

/** A vector with the sum of each of up to four vectors; the vectors are overwritten. */
function laneSums(of: readonly Local[]): Code {
  const at = (i: number): Local => (of[i] ?? of[0]) as Local;
  const pairs = (x: Local, y: Local): Code =>
    f32x4.add(shuffle32(x.get, y.get, 0, 1, 4, 5), shuffle32(x.get, y.get, 2, 3, 6, 7));
  const [x, y] = [at(0), at(1)];
  if (of.length <= 2)
    return [x.set(pairs(x, y)), f32x4.add(shuffle32(x.get, x.get, 0, 2, 0, 2), shuffle32(x.get, x.get, 1, 3, 1, 3))];
  const z = at(2);
  return [
    x.set(pairs(x, y)),
    z.set(pairs(z, at(3))),
    f32x4.add(shuffle32(x.get, z.get, 0, 2, 4, 6), shuffle32(x.get, z.get, 1, 3, 5, 7)),
  ];
}
