/**
 * The inner functions of scans: h = a * h + b, or h = h + b (`linear` false), along an axis.
 *
 * All have the parameters (a, b, out, count, carryIn, totals): `count` steps from the addresses on, against the
 * addresses' order if `reverse`. The state begins as the vector at `carryIn`, or as zeros if that is 0.
 * A function with `totals` writes no steps but the state at the end to `totals` and, if linear, the product of all a
 * to `totals` + `productOffset`.
 */
import {
  brIf,
  f32,
  f32x4,
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
  type FunctionBuilder,
  type Local,
  type ValueType,
  type WasmFunction,
} from "../wasm/emitter.js";

export interface ScanShape {
  readonly linear: boolean;
  readonly reverse: boolean;
  /** Write the state before each step instead of after it. */
  readonly exclusive: boolean;
  /** The same a for all steps. */
  readonly constantDecay: boolean;
  /** A decay of 0 forgets the state before it, infinite or not. */
  readonly forgets: boolean;
  readonly totals: boolean;
  readonly productOffset: number;
}

/** States smaller than this become 0, every few steps: arithmetic on denormal numbers is slow. */
const SMALLEST = 1e-36;
const STEPS_BETWEEN_FLUSHES = 8;

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
const advance = (local: Local, bytes: number): Code =>
  bytes === 0 ? [] : local.set(i32.add(local.get, i32.const(bytes)));
const flushed = (state: Local): Code =>
  state.set(v128.andNot(state.get, f32x4.lt(f32x4.abs(state.get), f32x4.const(SMALLEST))));

/** A product with a decay: 0 in the lanes where the decay is 0 and that forgets, even what is infinite. */
const unlessZero = (forgets: boolean, decay: Code, product: Code): Code =>
  forgets ? v128.andNot(product, f32x4.eq(decay, f32x4.const(0))) : product;

/** Products below this have lost digits, or all but. A state times this is no matter beside numbers near 1. */
const VANISHING = 2 ** -118,
  MATTERS = 2 ** -20;

/** What a product of decays is on its way: it is lost where it vanishes in between though decays grow. */
interface Trace {
  readonly start: Code;
  readonly note: (product: Local, decay: Local) => Code;
  readonly noteAt: (product: Local, decay: Code) => Code;
  /** All ones in the lanes whose product is lost. */
  readonly lost: Code;
}

function trace(f: ScanFunction): Trace {
  const [smallest, largest] = [f.local("v128"), f.local("v128")];
  const noteAt = (product: Local, decay: Code): Code => [
    smallest.set(f32x4.min(smallest.get, f32x4.abs(product.get))),
    largest.set(f32x4.max(largest.get, f32x4.abs(decay))),
  ];
  return {
    start: [smallest.set(f32x4.const(1)), largest.set(f32x4.const(0))],
    note: (product, decay) => noteAt(product, decay.get),
    noteAt,
    lost: v128.and(f32x4.lt(smallest.get, f32x4.const(VANISHING)), f32x4.gt(largest.get, f32x4.const(1))),
  };
}

const scanParams = ["i32", "i32", "i32", "i32", "i32", "i32"] as const satisfies readonly ValueType[];
type ScanFunction = FunctionBuilder<typeof scanParams>;

/** Scans `lanes` neighbouring columns at once; rows are `stride` bytes apart. */
export function columnsFunction(name: string, lanes: number, stride: number, shape: ScanShape): WasmFunction {
  const { linear, reverse, exclusive, totals } = shape;
  const f = functionBuilder(scanParams);
  const [a, b, out, count, carryIn, totalsOut] = f.params;
  const some = f.local("i32");
  const states = range(Math.ceil(lanes / 4)).map(() => f.local("v128"));
  const products = totals && linear ? states.map(() => f.local("v128")) : [];
  const traces = products.map(() => trace(f));
  const by = reverse ? -stride : stride;
  const oneStep: Code = [
    states.map((state, v) => {
      const decay = v128.load(a.get, 16 * v);
      const next = f32x4.add(
        linear ? unlessZero(shape.forgets, decay, f32x4.mul(decay, state.get)) : state.get,
        v128.load(b.get, 16 * v),
      );
      const write = totals ? [] : storeFirst(out, 16 * v, state, lanes - 4 * v);
      return exclusive ? [write, state.set(next)] : [state.set(next), write];
    }),
    products.map((product, v) => {
      const decay = v128.load(a.get, 16 * v);
      return [product.set(unlessZero(true, decay, f32x4.mul(product.get, decay))), traces[v]!.noteAt(product, decay)];
    }),
    shape.constantDecay || !linear ? [] : advance(a, by),
    advance(b, by),
    totals ? [] : advance(out, by),
  ];
  const steps = !linear
    ? whileLoop(count.get, [oneStep, advance(count, -1)])
    : whileLoop(count.get, [
        some.set(i32.const(STEPS_BETWEEN_FLUSHES)),
        when(i32.ltS(count.get, some.get), some.set(count.get)),
        count.set(i32.sub(count.get, some.get)),
        loop([oneStep, brIf(0, some.tee(i32.sub(some.get, i32.const(1))))]),
        states.map(flushed),
      ]);
  return f.finish(name, [
    when(
      carryIn.get,
      states.map((state, v) => state.set(v128.load(carryIn.get, 16 * v))),
    ),
    products.map((product, v) => [product.set(f32x4.const(1)), traces[v]!.start]),
    steps,
    totals ? states.map((state, v) => v128.store(totalsOut.get, state.get, 16 * v)) : [],
    products.map((product, v) =>
      v128.store(totalsOut.get, v128.or(product.get, traces[v]!.lost), shape.productOffset + 16 * v),
    ),
  ]);
}

function storeFirst(address: Local, offset: number, value: Local, lanes: number): Code {
  if (lanes >= 4) return v128.store(address.get, value.get, offset);
  return range(lanes).map((lane) => v128.store32Lane(address.get, value.get, lane, offset + 4 * lane));
}

/** Scans a contiguous row, several vectors at once. In reverse the addresses are those of the row's end. */
export function rowFunction(name: string, length: number, shape: ScanShape): WasmFunction {
  const f = functionBuilder(scanParams);
  const { linear, totals } = shape;
  const [, , , count, carryIn, totalsOut] = f.params;
  const carry = f.local("v128");
  const product = f.local("v128");
  const scratch = f.local("v128");
  const blockOf = linear ? linearBlock : sumBlock;
  const manyVectors = linear ? 2 : 4;
  const traced = trace(f);
  const many = blockOf(f, manyVectors, 4, shape, carry, product, traced);
  const one = blockOf(f, 1, 4, shape, carry, product, traced);
  const rest = length % 4;
  return f.finish(name, [
    when(carryIn.get, carry.set(v128.load32Splat(carryIn.get))),
    totals && linear ? [product.set(f32x4.const(1)), traced.start] : [],
    whileLoop(i32.geS(count.get, i32.const(4 * manyVectors)), [
      many,
      advance(count, -4 * manyVectors),
      linear ? flushed(carry) : [],
    ]),
    whileLoop(i32.geS(count.get, i32.const(4)), [one, advance(count, -4)]),
    rest === 0 ? [] : when(count.get, blockOf(f, 1, rest, shape, carry, product, traced)),
    totals ? f32.store(totalsOut.get, f32x4.extractLane(carry.get, 0)) : [],
    totals && linear
      ? [
          // of different lanes: a product that vanished in one is lost in all
          product.set(v128.or(product.get, traced.lost)),
          scratch.set(f32x4.mul(product.get, shuffle32(product.get, product.get, 2, 3, 2, 3))),
          f32.store(
            totalsOut.get,
            f32.mul(f32x4.extractLane(scratch.get, 0), f32x4.extractLane(scratch.get, 1)),
            shape.productOffset,
          ),
        ]
      : [],
  ]);
}

interface Block {
  /** Moves the addresses to the block before it is read, and beyond it afterwards. */
  readonly before: Code;
  readonly after: Code;
  /** Byte offset of the vector that comes `v`-th. */
  readonly offset: (v: number) => number;
  readonly write: (v: number, value: Local) => Code;
  /** Lanes moved by `by` steps away from the start, `fill` (0 or 4 lanes of it) before them. */
  readonly shifted: (x: Code, by: 1 | 2, fill: Code) => Code;
  /** The last step's lane in all lanes. */
  readonly lastLane: (x: Code) => Code;
  /** Byte offset of each step, in order. */
  readonly steps: readonly number[];
}

function blockIn(
  f: ScanFunction,
  vectors: number,
  lanes: number,
  { linear, reverse, constantDecay }: ScanShape,
): Block {
  const [a, b, out] = f.params;
  const moving = linear && !constantDecay ? [a, b, out] : [b, out];
  const bytes = 16 * (vectors - 1) + 4 * lanes;
  if (!reverse) {
    return {
      before: [],
      after: moving.map((p) => advance(p, bytes)),
      offset: (v) => 16 * v,
      write: (v, value) => storeFirst(out, 16 * v, value, lanes),
      shifted: (x, by, fill) => (by === 1 ? shuffle32(fill, x, 0, 4, 5, 6) : shuffle32(fill, x, 0, 1, 4, 5)),
      lastLane: (x) => shuffle32(x, x, 3, 3, 3, 3),
      steps: range(4 * (vectors - 1) + lanes).map((step) => 4 * step),
    };
  }
  // A short block begins before its first element, so that its last one is in the last lane.
  return {
    before: moving.map((p) => advance(p, -16 * vectors)),
    after: [],
    offset: (v) => 16 * (vectors - 1 - v),
    write: (v, value) =>
      lanes === 4
        ? v128.store(out.get, value.get, 16 * (vectors - 1 - v))
        : range(lanes).map((i) => v128.store32Lane(out.get, value.get, 3 - i, 12 - 4 * i)),
    shifted: (x, by, fill) => (by === 1 ? shuffle32(x, fill, 1, 2, 3, 4) : shuffle32(x, fill, 2, 3, 4, 5)),
    lastLane: (x) => shuffle32(x, x, 0, 0, 0, 0),
    steps: range(4 * (vectors - 1) + lanes).map((step) => 16 * vectors - 4 - 4 * step),
  };
}

/** Prefix sums within each vector, then the sums of the vectors before added to each. */
function sumBlock(f: ScanFunction, vectors: number, lanes: number, shape: ScanShape, carry: Local): Code {
  const block = blockIn(f, vectors, lanes, shape);
  const [, b] = f.params;
  const zero = f32x4.const(0);
  const sums = range(vectors).map(() => f.local("v128"));
  const before = range(vectors + 1).map((v) => (v === 0 ? carry : f.local("v128")));
  const last = before[vectors] as Local;
  const at = (list: readonly Local[], i: number): Code => (list[i] as Local).get;
  const totals = range(vectors).map(() => f.local("v128"));
  return [
    block.before,
    sums.map((sum, v) => sum.set(v128.load(b.get, block.offset(v)))),
    sums.map((sum) => sum.set(f32x4.add(sum.get, block.shifted(sum.get, 1, zero)))),
    sums.map((sum) => sum.set(f32x4.add(sum.get, block.shifted(sum.get, 2, zero)))),
    totals.map((total, v) => total.set(block.lastLane(at(sums, v)))),
    // Totals of all vectors up to v: the carry then waits for one addition only.
    totals.slice(1).map((total, v) => total.set(f32x4.add(at(totals, v), total.get))),
    totals.map((total, v) => (before[v + 1] as Local).set(f32x4.add(carry.get, total.get))),
    shape.totals
      ? []
      : sums.map((sum, v) => [
          sum.set(f32x4.add(shape.exclusive ? block.shifted(sum.get, 1, zero) : sum.get, at(before, v))),
          block.write(v, sum),
        ]),
    carry.set(last.get),
    block.after,
  ];
}

/**
 * Each lane's steps composed with those before it in the block; then applied to the carry at once. Where a product of decays
 * overflows, or vanishes though the state it is for does not, or a decay forgets, the block goes step by step instead.
 */
function linearBlock(
  f: ScanFunction,
  vectors: number,
  lanes: number,
  shape: ScanShape,
  carry: Local,
  product: Local,
  traced: Trace,
): Code {
  const block = blockIn(f, vectors, lanes, shape);
  const [a, b, out] = f.params;
  const [composed, state, decayOfStep] = [f.local("v128"), f.local("f32"), f.local("f32")];
  const [zero, one] = [f32x4.const(0), f32x4.const(1)];
  const [decays, drives] = [range(vectors).map(() => f.local("v128")), range(vectors).map(() => f.local("v128"))];
  const shiftedDrive = f.local("v128");
  const result = f.local("v128");
  const compose = (by: 1 | 2): Code =>
    range(vectors).map((v) => {
      const [decay, drive] = [decays[v] as Local, drives[v] as Local];
      return [
        shiftedDrive.set(block.shifted(drive.get, by, zero)),
        drive.set(f32x4.add(drive.get, f32x4.mul(decay.get, shiftedDrive.get))),
        decay.set(f32x4.mul(decay.get, block.shifted(decay.get, by, one))),
      ];
    });
  const sizes = (): Code[] => decays.map((decay) => f32x4.abs(decay.get));
  const largest = (): Code => sizes().reduce((x, y) => f32x4.max(x, y));
  const smallest = (): Code => sizes().reduce((x, y) => f32x4.min(x, y));
  /** Of the decays, before they are composed, or of the state. */
  const reach = f.local("v128");
  const lastVector = vectors - 1;
  const [lastDecay, lastDrive] = [decays[lastVector] as Local, drives[lastVector] as Local];
  return [
    block.before,
    decays.map((decay, v) =>
      decay.set(shape.constantDecay ? v128.load32Splat(a.get) : v128.load(a.get, block.offset(v))),
    ),
    drives.map((drive, v) => drive.set(v128.load(b.get, block.offset(v)))),
    shape.totals
      ? decays.map((decay) => [
          product.set(unlessZero(true, decay.get, f32x4.mul(product.get, decay.get))),
          traced.note(product, decay),
        ])
      : [],
    reach.set(f32x4.max(largest(), f32x4.mul(f32x4.abs(carry.get), f32x4.const(MATTERS)))),
    compose(1),
    compose(2),
    range(vectors - 1).map((v) => {
      const [decay, drive] = [decays[v + 1] as Local, drives[v + 1] as Local];
      return [
        drive.set(f32x4.add(drive.get, f32x4.mul(decay.get, block.lastLane((drives[v] as Local).get)))),
        decay.set(f32x4.mul(decay.get, block.lastLane((decays[v] as Local).get))),
      ];
    }),
    composed.set(block.lastLane(lastDecay.get)),
    when(
      // As numbers, a product of 0, one beyond the largest at any step, or one too small that grows again.
      i32.or(
        i32.eqz(i32x4.allTrue(f32x4.lt(largest(), f32x4.const(Infinity)))),
        i32.or(
          shape.forgets ? f32.eq(f32x4.extractLane(composed.get, 0), f32.const(0)) : i32.const(0),
          i32.and(
            v128.anyTrue(f32x4.lt(smallest(), f32x4.const(VANISHING))),
            v128.anyTrue(f32x4.gt(reach.get, f32x4.const(1))),
          ),
        ),
      ),
      [
        state.set(f32x4.extractLane(carry.get, 0)),
        block.steps.map((offset) => [
          decayOfStep.set(f32.load(a.get, shape.constantDecay ? 0 : offset)),
          state.set(
            f32.add(
              shape.forgets
                ? select(f32.const(0), f32.mul(decayOfStep.get, state.get), f32.eq(decayOfStep.get, f32.const(0)))
                : f32.mul(decayOfStep.get, state.get),
              f32.load(b.get, offset),
            ),
          ),
          shape.totals ? [] : f32.store(out.get, state.get, offset),
        ]),
        carry.set(f32x4.splat(state.get)),
      ],
      [
        shape.totals
          ? []
          : range(vectors).map((v) => [
              result.set(f32x4.add((drives[v] as Local).get, f32x4.mul((decays[v] as Local).get, carry.get))),
              block.write(v, result),
            ]),
        carry.set(f32x4.add(block.lastLane(lastDrive.get), f32x4.mul(composed.get, carry.get))),
      ],
    ),
    block.after,
  ];
}
