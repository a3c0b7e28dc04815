/**
 * Random recurrences, the same for a seed: growing, vanishing, zero and negative decays, sequences packed into one with numbers
 * that are none before a reset, extents of 1. What a device computes, fused and not, is what the reference device does, in
 * values and gradients. Sizes of states wander over the range of f32 (within 2^-80 .. 2^80), so that products of decays leave it
 * though no state does; errors are measured by the sizes of what is added up, which a recurrence of absolute values gives.
 */
import {
  add,
  broadcastTo,
  cast,
  complexLinearScan,
  exp,
  grad,
  leavesOf,
  linearScan,
  mul,
  reference,
  reshape,
  roundToHalf,
  sizeOf,
  sliceAxis,
  sum,
  tensor,
  threefry,
  where,
  zeros,
  type Device,
  type Shape,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import { attempt, LawError } from "./compare.js";
import { evaluate } from "./host-values.js";

/** A leaf: its numbers, those that stand for their sizes, and whether it is stored as f16. */
interface Leaf {
  readonly shape: Shape;
  readonly data: Float64Array;
  readonly sizes: Float64Array;
  readonly half?: boolean;
}

interface Program {
  readonly text: string;
  readonly leaves: readonly Leaf[];
  /** Numbers of the leaves whose gradients are asked for. */
  readonly wanted: readonly number[];
  /** Outputs, and what they are multiplied by in the loss. */
  run(leaves: readonly Tensor[]): readonly (readonly [value: Tensor, weights: Tensor])[];
}

type Draw = (below: number) => number;
const drawOf = (seed: number): Draw => {
  let count = 0;
  return (below) => (threefry([seed, 11], [count++, 0])[0] >>> 1) % below;
};
const pick = <T>(draw: Draw, list: readonly T[]): T => list[draw(list.length)]!;
const unit = (draw: Draw): number => (draw(2 ** 20) + 0.5) / 2 ** 20;
const sign = (draw: Draw): number => (draw(2) === 0 ? -1 : 1);
/** 0.25 to 1 in size. */
const near1 = (draw: Draw): number => sign(draw) * (0.25 + 0.75 * unit(draw));

/** Sizes of the states are between 2^-REACH and 2^REACH. */
const REACH = 80;

/** How decays are drawn. */
interface Manner {
  /** Largest step of the logarithm of a state's size. */
  readonly jump: number;
  readonly grows: boolean;
  /** One in so many decays vanishes, is 0, resets; 0: none. */
  readonly vanishing: number;
  readonly zero: number;
  readonly resets: number;
  /** One in so many numbers before a reset is none; 0: none. */
  readonly bad: number;
  readonly negative: boolean;
}

const mannerOf = (draw: Draw): Manner => {
  const resets = pick(draw, [0, 0, 2, 7, 40]);
  return {
    jump: pick(draw, [1, 5, 20, 60]),
    grows: draw(3) > 0,
    vanishing: pick(draw, [0, 0, 3, 20]),
    zero: pick(draw, [0, 0, 5, 30]),
    resets,
    bad: resets > 0 ? pick(draw, [0, 1, 3]) : 0,
    negative: draw(2) === 0,
  };
};

/** One line of decays: logarithms to base 2 of the states' sizes [L + 1] in the order of the recurrence, decays, resets. */
interface Line {
  readonly level: Float64Array;
  readonly a: Float64Array;
  readonly reset: Uint8Array;
}

function lineOf(draw: Draw, L: number, manner: Manner, resets?: Uint8Array): Line {
  const level = new Float64Array(L + 1);
  const a = new Float64Array(L);
  const reset = resets ?? new Uint8Array(L);
  const anywhere = (): number => (manner.grows ? draw(2 * REACH + 1) - REACH : 0);
  const chance = (n: number): boolean => n > 0 && draw(n) === 0;
  let now = (level[0] = anywhere());
  for (let t = 0; t < L; t++) {
    if (!resets && chance(manner.resets)) reset[t] = 1;
    if (reset[t]) {
      level[t + 1] = now = anywhere();
      a[t] = near1(draw);
      continue;
    }
    const step = draw(manner.jump + 1);
    const next = manner.grows ? now + step * sign(draw) : now;
    const to = Math.abs(next) > REACH ? now : next;
    const size = manner.grows ? 2 ** (to - now) : unit(draw);
    const own = manner.negative ? sign(draw) : 1;
    if (chance(manner.zero)) a[t] = 0;
    else if (chance(manner.vanishing)) a[t] = own * size * 2 ** -(20 + draw(60));
    else a[t] = own * size * (manner.grows ? 1 - unit(draw) * 2 ** -6 : 1);
    a[t] = Math.abs(a[t]!) < 2 ** -126 ? 0 : Math.fround(a[t]!);
    level[t + 1] = now = to;
  }
  return { level, a, reset };
}

/** Whether a later step of the line forgets this one. */
const isForgotten = (reset: Uint8Array, t: number): boolean => reset.subarray(t + 1).includes(1);
const NONE = [NaN, Infinity, -Infinity] as const;

/** A number of a size, now and then none where a reset is behind it. */
function drawn(draw: Draw, size: number, { bad }: Manner, reset: Uint8Array, t: number): number {
  const x = near1(draw) * size;
  if (bad > 0 && draw(12 * bad) === 0 && isForgotten(reset, t)) return pick(draw, NONE);
  return Math.fround(x);
}

const leafOf = (shape: Shape, data: Float64Array, more: Partial<Leaf> = {}): Leaf => ({
  shape,
  data,
  sizes: data.map(Math.abs),
  ...more,
});

/** h_t = a_t h_(t-1) + b_t along any axis of any shape, read as it is or by a sum over an axis. */
function vectors(seed: number): Program {
  const draw = drawOf(seed);
  const manner = mannerOf(draw);
  const rank = 1 + draw(3);
  const axis = draw(rank);
  const L = pick(draw, [1, 2, 3, 9, 33, 70, 129, 300, 700]);
  const shape = Array.from({ length: rank }, (_, k) => (k === axis ? L : pick(draw, [1, 1, 2, 3, 5, 17])));
  const reverse = draw(3) === 0;
  const initial = draw(2) === 0;
  const complex = draw(4) === 0;
  const shared = draw(2) === 0;
  const summed =
    rank > 1 && draw(2) === 0
      ? pick(
          draw,
          shape.flatMap((_, k) => (k === axis ? [] : [k])),
        )
      : undefined;
  const stride = sizeOf(shape.slice(axis + 1));
  const lines = sizeOf(shape) / L;
  const total = sizeOf(shape);
  const make = (): Float64Array => new Float64Array(total);
  const [a, ai, b, bi, w, reset] = [make(), make(), make(), make(), make(), make()];
  const [aSizes, bSizes, h0, h0i] = [make(), make(), new Float64Array(lines), new Float64Array(lines)];
  const common = lineOf(draw, L, manner);
  for (let line = 0; line < lines; line++) {
    const own = shared ? common : lineOf(draw, L, manner, common.reset);
    h0[line] = manner.bad > 0 && own.reset[0] ? pick(draw, NONE) : Math.fround(near1(draw) * 2 ** own.level[0]!);
    for (let s = 0; s < L; s++) {
      const t = reverse ? L - 1 - s : s;
      const at = (Math.floor(line / stride) * L + t) * stride + (line % stride);
      const angle = complex ? 6 * unit(draw) : 0;
      const scale = 2 ** own.level[s + 1]!;
      a[at] = Math.fround(own.a[s]! * Math.cos(angle));
      ai[at] = Math.fround(own.a[s]! * Math.sin(angle));
      b[at] = drawn(draw, scale, manner, own.reset, s);
      bi[at] = complex ? Math.fround(near1(draw) * scale) : 0;
      aSizes[at] = Math.hypot(a[at]!, ai[at]!);
      bSizes[at] = Math.hypot(b[at]!, bi[at]!);
      w[at] = Math.fround(near1(draw) / scale);
      reset[at] = own.reset[s]!;
    }
  }
  const states = shape.filter((_, k) => k !== axis);
  const nothing = make();
  const leaves: Leaf[] = [
    leafOf(shape, a, { sizes: aSizes }),
    leafOf(shape, b, { sizes: bSizes }),
    leafOf(states, h0),
    leafOf(shape, w),
    leafOf(shape, reset),
    leafOf(shape, ai, { sizes: nothing }),
    leafOf(shape, bi, { sizes: nothing }),
    leafOf(states, h0i),
  ];
  const wanted = [0, 1, ...(initial ? [2] : []), ...(complex ? [5, 6] : [])];
  const text = `${complex ? "complex " : ""}vectors [${shape.join()}] along ${axis}${reverse ? " reversed" : ""}${initial ? " from a state" : ""}${summed === undefined ? "" : `, summed over ${summed}`}, ${JSON.stringify(manner)}`;
  const forgets = manner.resets > 0;
  return {
    text,
    leaves,
    wanted,
    run([a_, b_, h0_, w_, reset_, ai_, bi_, h0i_]) {
      const kept = (x: Tensor): Tensor => (forgets ? where(cast(reset_!, "bool"), 0, x) : x);
      const how = { axis, reverse, forgets };
      const read = (h: Tensor): readonly [Tensor, Tensor] =>
        summed === undefined ? [h, w_!] : [sum(mul(h, w_!), summed), reshape(tensor(new Float32Array([1])), [])];
      if (!complex) return [read(linearScan({ a: kept(a_!), b: b_!, ...(initial && { h0: h0_! }), ...how }))];
      const { re, im } = complexLinearScan({
        a: { re: kept(a_!), im: kept(ai_!) },
        b: { re: b_!, im: bi_! },
        ...(initial && { h0: { re: h0_!, im: h0i_! } }),
        ...how,
      });
      return [read(re), read(im)];
    },
  };
}

/** Decays e^(x_t y_d) of a wide recurrence, computed in place and read by a sum. */
function powers(seed: number): Program {
  const draw = drawOf(seed);
  const [L, D, N] = [pick(draw, [1, 40, 130, 600, 1100]), pick(draw, [1, 4, 20]), pick(draw, [1, 2, 8])];
  const jump = pick(draw, [1, 4, 12]);
  const x = new Float64Array(L * D);
  const y = Float64Array.from({ length: D * N }, () => pick(draw, [0.25, 0.5, 1]));
  const [b, c] = [new Float64Array(L * N), new Float64Array(L * N)];
  const u = Float64Array.from({ length: L * D }, () => Math.fround(near1(draw)));
  let level = 0;
  for (let t = 0; t < L; t++) {
    const step = draw(2 * jump + 1) - jump;
    if (Math.abs(level + step) <= REACH / 2) level += step;
    else level -= step;
    const before = t === 0 ? 0 : level;
    for (let d = 0; d < D; d++) x[t * D + d] = Math.fround((before === level && t === 0 ? 0 : step) * Math.LN2);
    // the states of all y lie between that of a large y and 1
    for (let n = 0; n < N; n++) {
      b[t * N + n] = Math.fround(near1(draw) * 2 ** Math.min(level, 0));
      c[t * N + n] = Math.fround(near1(draw) * 2 ** -Math.max(level, 0));
    }
  }
  // the walk as it was taken
  let now = 0;
  for (let t = 0; t < L; t++) {
    const step = Math.round(x[t * D]! / Math.LN2);
    if (Math.abs(now + step) > REACH / 2) for (let d = 0; d < D; d++) x[t * D + d] = -x[t * D + d]!;
    now += Math.round(x[t * D]! / Math.LN2);
  }
  return {
    text: `powers [${L},${D},${N}], steps of 2^${jump}`,
    leaves: [
      { shape: [L, D, 1], data: x, sizes: x },
      leafOf([1, D, N], y),
      leafOf([L, 1, N], b),
      leafOf([L, D, 1], u),
      leafOf([L, 1, N], c),
    ],
    wanted: [0, 2, 3, 4],
    run([x_, y_, b_, u_, c_]) {
      const h = linearScan({ a: exp(mul(x_!, y_!)), b: mul(b_!, u_!), axis: 0 });
      return [[sum(mul(h, c_!), 2), tensor(new Float32Array([1]), [1, 1])]];
    },
  };
}

/** S_t = a_t S_(t-1) + k_t v_t^T, y_t = q_t^T S_t, of sizes that devices take as products of matrices. */
function matrices(seed: number): Program {
  const draw = drawOf(seed);
  const given = mannerOf(draw);
  const half = draw(4) === 0;
  const manner = half ? { ...given, grows: false } : given;
  const kind = pick(draw, ["scalar", "scalar", "vector", "constant"] as const);
  const L = pick(draw, [64, 100, 130, 260]);
  const [K, V] = [pick(draw, [16, 17, 20]), pick(draw, [16, 18, 32])];
  const H = Math.ceil(2 ** 18 / (L * K * V));
  const reverse = draw(4) === 0;
  const initial = draw(3) === 0;
  const resets = kind === "constant" ? 0 : manner.resets;
  const own = kind === "constant" ? { ...manner, resets: 0, bad: 0, zero: 0, vanishing: 0 } : manner;
  const width = kind === "vector" ? K : 1;
  const shapes = { a: [L, H, width, 1], k: [L, H, K, 1], v: [L, H, 1, V], S: [L, H, K, V] };
  const array = (shape: Shape): Float64Array => new Float64Array(sizeOf(shape));
  const [a, k, v, q, w] = [array(shapes.a), array(shapes.k), array(shapes.v), array(shapes.k), array([L, H, V])];
  const [reset, h0] = [array([L, 1, 1, 1]), array([H, K, V])];
  const common = lineOf(draw, L, own);
  // one that grows does so within the reach
  const constant = sign(draw) * pick(draw, [1, 0.9, 0.5, 2 ** Math.min(0.5, REACH / L), 1e-12]);
  common.reset.forEach((x, s) => (reset[reverse ? L - 1 - s : s] = x));
  const number = (size: number, t: number): number => {
    const x = drawn(draw, size, { ...own, bad: own.bad * 40 }, common.reset, t);
    return half && Number.isFinite(x) ? roundToHalf(x) : x;
  };
  for (let h = 0; h < H; h++) {
    const lines = Array.from({ length: width }, () => lineOf(draw, L, own, common.reset));
    const levelOf = (key: number, s: number): number =>
      kind === "constant"
        ? Math.log2(Math.abs(constant)) * (constant > 1 || constant < -1 ? s - L : 0)
        : lines[key % width]!.level[s]!;
    for (let key = 0; key < K; key++)
      for (let e = 0; e < V; e++) h0[(h * K + key) * V + e] = Math.fround(near1(draw) * 2 ** levelOf(key, 0));
    for (let s = 0; s < L; s++) {
      const t = reverse ? L - 1 - s : s;
      for (let key = 0; key < width; key++)
        a[(t * H + h) * width + key] = kind === "constant" ? Math.fround(constant) : lines[key]!.a[s]!;
      for (let key = 0; key < K; key++) {
        const size = 2 ** levelOf(key, s + 1);
        k[(t * H + h) * K + key] = number(size, s);
        q[(t * H + h) * K + key] = Math.fround(near1(draw) / size);
      }
      for (let e = 0; e < V; e++) {
        v[(t * H + h) * V + e] = number(1, s);
        w[(t * H + h) * V + e] = Math.fround(near1(draw));
      }
    }
  }
  return {
    text: `matrices [${L},${H},${K},${V}] ${kind}${half ? " of f16" : ""}${reverse ? " reversed" : ""}${initial ? " from a state" : ""}, ${JSON.stringify(own)}`,
    leaves: [
      leafOf(shapes.a, a),
      leafOf(shapes.k, k, { half }),
      leafOf(shapes.v, v, { half }),
      leafOf(shapes.k, q),
      leafOf([L, H, V], w),
      leafOf([L, 1, 1, 1], reset),
      leafOf([H, K, V], h0),
    ],
    wanted: half ? [0, 3, ...(initial ? [6] : [])] : [0, 1, 2, 3, ...(initial ? [6] : [])],
    run([a_, k_, v_, q_, w_, reset_, h0_]) {
      const f32 = (x: Tensor): Tensor => cast(x, "f32");
      const decay = resets > 0 ? where(cast(reset_!, "bool"), 0, a_!) : a_!;
      const S = linearScan({
        a: broadcastTo(decay, shapes.S),
        b: broadcastTo(mul(f32(k_!), f32(v_!)), shapes.S),
        ...(initial && { h0: h0_! }),
        axis: 0,
        reverse,
        forgets: resets > 0,
      });
      const last = reverse ? 0 : L - 1;
      return [
        [sum(mul(S, q_!), 2), w_!],
        [
          mul(
            reshape(sliceAxis(S, 0, last, last + 1), [H, K, V]),
            reshape(sliceAxis(q_!, 0, last, last + 1), [H, K, 1]),
          ),
          tensor(new Float32Array([1]), [1, 1, 1]),
        ],
      ];
    },
  };
}

/** Kinds of random recurrences. */
export type RecurrenceKind = "vectors" | "powers" | "matrices";

const KINDS: Readonly<Record<RecurrenceKind, (seed: number) => Program>> = { vectors, powers, matrices };

/** Results beyond this are not compared: f32 may not hold what they are made of. */
const LARGEST = 2 ** 120;
/** Share of what is added up that a result may be off, and what is no matter. */
const RELATIVE = 2e-4,
  ABSOLUTE = 2 ** -100;

/**
 * Compares a random recurrence on a device, fused and not, with the reference device.
 * @returns The recurrence, in words.
 * @throws LawError with the seed and the recurrence.
 */
export async function checkRandomRecurrence(kind: RecurrenceKind, seed: number, device: Device): Promise<string> {
  const { leaves, run, wanted, text } = KINDS[kind](seed);
  const law = `random recurrence ${kind} ${seed} (${text})`;
  const make = (sizes: boolean): Tensor[] =>
    leaves.map(({ data, sizes: own, shape, half }) =>
      tensor((sizes ? own : data).slice(), shape, half ? "f16" : "f32"),
    );
  const values = (sizes: boolean) => (): readonly Tensor[] => run(make(sizes)).map(([y]) => mul(y, 1));
  const gradients = (sizes: boolean) => (): readonly Tensor[] => {
    const all = make(sizes);
    const loss = (some: readonly Tensor[]): Tensor => {
      const given = all.map((x, k) => some[wanted.indexOf(k)] ?? x);
      return run(given).reduce((total: Tensor, [y, w]) => add(total, sum(mul(y, w))), zeros([]));
    };
    return leavesOf(grad(loss)(wanted.map((k) => all[k]!)) as Tree).map((g) => mul(g, 1));
  };
  for (const [what, build] of [
    ["values", values],
    ["gradients", gradients],
  ] as const) {
    const expected = await evaluate(reference(), build(false));
    const sizes = await evaluate(reference(), build(true));
    for (const fuse of kind === "matrices" ? [true] : [true, false]) {
      const place = `${law}: ${what} on ${fuse ? "fused" : "unfused"} ${device.name}`;
      const actual = await attempt(place, () => evaluate(device, build(false), { fuse }));
      expected.forEach(({ data }, n) => {
        // of complex numbers, both parts by the size of the number
        const most = sizes.filter((other) => other.data.length === data.length).map((other) => other.data);
        data.forEach((right, at) => {
          const got = actual[n]!.data[at]!;
          if (!Number.isFinite(right)) {
            if (what === "values" && Number.isFinite(got))
              throw new LawError(place, `expected ${right} at ${at} of result ${n}, got ${got}`);
            return;
          }
          const found = kind === "vectors" ? most.map((list) => list[at]!) : [sizes[n]!.data[at]!];
          const size = Math.max(Math.abs(right), ...found.filter(Number.isFinite));
          if (size > LARGEST) return;
          if (!(Math.abs(got - right) <= RELATIVE * size + ABSOLUTE))
            throw new LawError(place, `expected ${right} at ${at} of result ${n} (size ${size}), got ${got}`);
        });
      });
    }
  }
  return text;
}
