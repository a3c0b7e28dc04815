import { expect, test } from "vitest";
import { whenLoaded } from "../graph/on-demand.js";
import { opTable } from "../index.js";
import {
  add,
  broadcastTo,
  checkpoint,
  complexLinearScan,
  concat,
  cos,
  exp,
  expandDims,
  flip,
  full,
  grad,
  key,
  leavesOf,
  linearScan,
  matmul,
  mul,
  normal,
  realize,
  reference,
  reshape,
  sigmoid,
  silu,
  sin,
  sliceAxis,
  softplus,
  sub,
  sum,
  transpose,
  uniform,
  valueAndGradAux,
  vjp,
  type ComplexParts,
  type Shape,
  type Tensor,
} from "../index.js";
import { nodesOf } from "../ir/simplify.js";
import type { Scalar } from "../ir/loop.js";
import type { ReferenceArray } from "../graph/op.js";
import type { ScanKernel } from "../ir/scan-kernel.js";
import { sizeOf } from "../graph/shape.js";
import type { PlanOptions } from "./draft.js";
import type { NativeCall, Plan } from "./plan.js";
import { makePlan } from "./planner.js";
import type { ScanSupport } from "./scan-draft.js";
import { scanPasses } from "./scan-passes.js";
import { interpretLoop, interpretScan, type Numbers } from "../ir/interpreter.js";
import { graphOf } from "./signature.js";

// ---- a device that interprets plans in float64 ----

const valuesOf = (x: Tensor): Numbers => {
  if (x.source.kind !== "host") throw new Error("leaves of these tests are host data");
  return x.source.data;
};

function runNative({ op, attributes, inputs, outputs }: NativeCall, data: readonly Numbers[]): readonly Numbers[] {
  const row = opTable.find(({ name }) => name === op);
  const views = inputs.map(({ shape, dtype, offset, strides }, k) => {
    const view = new Float64Array(sizeOf(shape));
    for (let i = 0; i < view.length; i++) {
      let rest = i;
      let at = offset;
      for (let axis = shape.length - 1; axis >= 0; axis--) {
        at += (rest % shape[axis]!) * strides[axis]!;
        rest = Math.floor(rest / shape[axis]!);
      }
      view[i] = data[k]![at]!;
    }
    return { shape, dtype, data: view as ReferenceArray };
  });
  return row!.reference!(views, attributes as never, outputs);
}

function runPlan(plan: Plan, leaves: readonly Tensor[]): readonly Numbers[] {
  const memory: Numbers[] = [];
  leaves.forEach((x, slot) => (memory[slot] = valuesOf(x)));
  for (const { slot, tensor } of plan.constants) memory[slot] = valuesOf(tensor);
  for (const step of plan.steps) {
    const inputs = step.inputs.map((slot) => {
      if (!memory[slot]) throw new Error(`${step.name} reads a slot before it is written`);
      return memory[slot];
    });
    const results =
      step.kind === "loop"
        ? interpretLoop(step.kernel, inputs)
        : step.kind === "scan"
          ? interpretScan(step.kernel, inputs)
          : runNative(step.call, inputs);
    step.outputs.forEach((slot, k) => (memory[slot] = results[k]!));
  }
  return plan.roots.map((slot) => memory[slot]!);
}

const OPTIONS: PlanOptions = {
  device: "none",
  fuse: true,
  maxBuffers: 32,
  scans: { passes: scanPasses, maxBuffers: 32, accepts: () => true },
};

/** What the scan IR promises its renderers. */
function assertContract({ extents, along, decay, drive, initial, adjoint, sums, outputs }: ScanKernel): void {
  const ops = (values: readonly Scalar[]): Set<Scalar["op"]> => new Set([...nodesOf(values)].map(({ op }) => op));
  for (const value of [decay, drive, initial ?? [], adjoint?.seed ?? []])
    expect([...ops(value)].filter((op) => op === "state" || op === "reduced")).toEqual([]);
  for (const node of nodesOf(initial ?? [])) if (node.op === "load") expect(node.index.coefficients[along]).toBe(0);
  const axes = (step: string): number => extents.length - (step === "each" ? 0 : 1);
  for (const { keeps, step, value, of } of sums) {
    expect(keeps.length).toBeLessThan(of?.length ?? axes(step));
    expect(ops([value])).not.toContain(of ? "state" : "reduced");
    if (!of) continue;
    expect([of.includes(along), keeps.includes(along)]).toEqual([true, false]);
    expect(keeps.filter((axis) => !of.includes(axis))).toEqual([]);
    for (const node of nodesOf([value]))
      if (node.op === "reduced") expect(sums[node.reduction]).toMatchObject({ keeps: of, step: "each" });
  }
  for (const { keeps, step, value } of outputs) {
    if (keeps.length < axes(step)) expect(ops([value])).not.toContain("state");
    for (const node of nodesOf([value]))
      if (node.op === "reduced")
        expect({ keeps: sums[node.reduction]!.keeps, step: sums[node.reduction]!.step }).toEqual({ keeps, step });
  }
}

/**
 * Plans the tensors, runs the plan and compares with the reference device; the same for a device that takes totals. Leaves
 * are drawn first.
 */
async function check(build: () => readonly Tensor[], options: Partial<PlanOptions> = {}): Promise<Plan> {
  const expected = build();
  await realize(expected, { device: reference() });
  const all = { ...OPTIONS, ...options };
  if (all.scans) await compare(build, expected, { ...all, scans: { totals: () => true, ...all.scans } });
  return compare(build, expected, all);
}

async function compare(
  build: () => readonly Tensor[],
  expected: readonly Tensor[],
  options: PlanOptions,
): Promise<Plan> {
  const { roots, leaves } = graphOf(build());
  const plan = await whenLoaded(() => makePlan(roots, leaves, options));
  scansOf(plan).forEach(assertContract);
  const actual = runPlan(plan, leaves);
  for (const [k, x] of expected.entries()) {
    const want = Float64Array.from(await x.data());
    const scale = want.reduce((a, b) => Math.max(a, Math.abs(b)), 1e-6);
    expect(actual[k]!.length).toBe(want.length);
    want.forEach((value, i) => {
      if (!(Math.abs(value - actual[k]![i]!) <= 1e-9 * scale))
        throw new Error(
          `root ${k} element ${i}: expected ${value}, got ${actual[k]![i]}\n${plan.steps.map(({ name }) => name).join("\n")}`,
        );
    });
  }
  return plan;
}

const scansOf = (plan: Plan): ScanKernel[] => plan.steps.flatMap((step) => (step.kind === "scan" ? [step.kernel] : []));
/** Elements of the largest block of memory. */
const largest = (plan: Plan): number => Math.max(...plan.slots.map(({ size }) => size));

/** Host data, so that plans have leaves. */
const drawn = new Map<string, Promise<Tensor>>();
async function draw(name: string, shape: Shape, low?: number, high?: number): Promise<Tensor> {
  const id = `${name} ${shape.join()} ${low}`;
  if (!drawn.has(id))
    drawn.set(
      id,
      (async () => {
        const k = key([...id].reduce((a, c) => (a * 31 + c.charCodeAt(0)) | 0, 7));
        const x = low === undefined ? normal(k, shape) : add(mul(uniform(k, shape), high! - low), low);
        const { tensor } = await import("../graph/tensor.js");
        return tensor(Float64Array.from(await (await realize(x, { device: reference() })).data()), shape);
      })(),
    );
  return drawn.get(id)!;
}

async function drawAll<K extends string>(shapes: Readonly<Record<K, Shape>>): Promise<Record<K, Tensor>> {
  const out = {} as Record<K, Tensor>;
  for (const name of Object.keys(shapes) as K[]) out[name] = await draw(name, shapes[name]);
  return out;
}

/** Outputs, and gradients of a weighted sum of all of them with respect to everything. */
async function withGradients<K extends string>(
  f: (inputs: Record<K, Tensor>) => readonly Tensor[],
  inputs: Record<K, Tensor>,
): Promise<() => readonly Tensor[]> {
  const weights = await Promise.all(f(inputs).map((y, k) => draw(`weight ${k}`, y.shape)));
  return () => {
    const [, gradients, outputs] = valueAndGradAux((given: Record<K, Tensor>) => {
      const results = f(given);
      // Squares: the cotangents depend on the results.
      return [results.map((y, k) => sum(mul(mul(y, y), weights[k]!))).reduce(add), results];
    })(inputs);
    return [...outputs, ...leavesOf(gradients)];
  };
}

const [B, L, D, N] = [2, 5, 3, 4];
const column = (x: Tensor): Tensor => expandDims(x, -1);

type Mamba = Record<"u" | "delta" | "A" | "b" | "c" | "bias" | "skip" | "z" | "h0", Tensor>;
const mambaInputs = (): Promise<Mamba> =>
  drawAll({
    u: [B, L, D],
    delta: [B, L, D],
    A: [D, N],
    b: [B, L, N],
    c: [B, L, N],
    bias: [D],
    skip: [D],
    z: [B, L, D],
    h0: [B, D, N],
  });
const mamba = ({ u, delta, A, b, c, bias, skip, z, h0 }: Mamba): readonly Tensor[] => {
  const dt = softplus(add(delta, bias));
  const h = linearScan({
    a: exp(mul(column(dt), mul(exp(A), -1))),
    b: mul(column(mul(dt, u)), expandDims(b, 2)),
    h0,
    axis: 1,
  });
  const y = sum(mul(h, expandDims(c, 2)), -1);
  return [mul(add(y, mul(u, skip)), silu(z)), reshape(sliceAxis(h, 1, L - 1, L), [B, D, N])];
};

test("a selective scan is one step forward and one backward, and [B L D N] never has memory", async () => {
  const inputs = await mambaInputs();
  expect(scansOf(await check(() => mamba(inputs)))).toHaveLength(1);

  const plan = await check(await withGradients(mamba, inputs));

  expect(scansOf(plan)).toHaveLength(2);
  expect(largest(plan)).toBeLessThan(B * L * D * N);
});

test("sums over the steps of what the gradient's step has at hand are its totals, as many as it can store", async () => {
  const build = await withGradients(mamba, await mambaInputs());
  const planned = (maxBuffers: number, totals: boolean): Promise<Plan> =>
    check(build, { scans: { passes: scanPasses, maxBuffers, accepts: () => true, totals: () => totals } });
  const totalsOf = (plan: Plan): number => scansOf(plan).flatMap(({ sums }) => sums.filter(({ of }) => of)).length;
  const sumsOf = (plan: Plan): number =>
    plan.steps.filter((step) => step.kind === "loop" && step.kernel.reduceExtents.join() === [B, L].join()).length;

  // of the bias and of the skip
  const whole = await planned(32, true);
  expect([totalsOf(whole), sumsOf(whole)]).toEqual([2, 0]);
  const [, gradient] = scansOf(whole);
  const buffers = gradient!.inputs.length + gradient!.outputs.length;
  const one = await planned(buffers - 1, true);
  expect([totalsOf(one), sumsOf(one)]).toEqual([1, 1]);
  const none = await planned(32, false);
  expect([totalsOf(none), sumsOf(none)]).toEqual([0, 2]);
});

test("a total of what nothing else reads needs no result that it is the sum of", async () => {
  const { bias, ...rest } = await mambaInputs();
  const build = (): readonly Tensor[] => [grad((x: Tensor) => sum(mamba({ ...rest, bias: x })[0]!))(bias)];
  const scans: ScanSupport = { passes: scanPasses, maxBuffers: 32, accepts: () => true, totals: () => true };
  const [gradient] = scansOf(await check(build, { scans })).filter(({ adjoint }) => adjoint);
  expect(gradient!.outputs.map(({ keeps }) => keeps)).toEqual([[2]]);
});

type Lru = Record<"x" | "nu" | "b" | "c", Tensor>;
test("a real LRU: no slot holds the states, forward or backward", async () => {
  const inputs = await drawAll({ x: [B, L, D], nu: [N], b: [D, N], c: [D, N] });
  const lru = ({ x, nu, b, c }: Lru): readonly Tensor[] => {
    const shape = [B, L, D, N];
    const a = broadcastTo(exp(mul(exp(nu), -1)), shape);
    const h = linearScan({ a, b: mul(column(x), b), axis: 1 });
    return [sum(mul(h, c), -1)];
  };
  const plan = await check(await withGradients(lru, inputs));

  expect(scansOf(plan)).toHaveLength(2);
  expect(largest(plan)).toBeLessThan(B * L * D * N);
});

test("minGRU: the states are the result, and the gradient reads them", async () => {
  const inputs = await drawAll({ z: [B, L, D], x: [B, L, D], w: [D, D] });
  const minGru = ({ z, x, w }: Record<"z" | "x" | "w", Tensor>): readonly Tensor[] => {
    const gate = sigmoid(z);
    return [matmul(linearScan({ a: sub(1, gate), b: mul(gate, x), axis: 1 }), w)];
  };
  const plan = await check(await withGradients(minGru, inputs));

  expect(scansOf(plan).map(({ reverse }) => reverse)).toEqual([false, true]);
});

test("gated states: the gate is applied inside, and the gradient computes the states again", async () => {
  const inputs = await drawAll({ z: [B, L, D], x: [B, L, D], o: [B, L, D], w: [D, D] });
  const gated = ({ z, x, o, w }: Record<"z" | "x" | "o" | "w", Tensor>): readonly Tensor[] => [
    matmul(mul(linearScan({ a: sigmoid(z), b: x, axis: 1, reverse: true }), silu(o)), w),
  ];
  const plan = await check(await withGradients(gated, inputs));

  expect(scansOf(plan).map(({ adjoint }) => adjoint !== undefined)).toEqual([false, true]);
});

test("a complex state-space model with resets", async () => {
  const inputs = await drawAll({
    u: [B, L, D],
    delta: [B, L, D],
    re: [D, N],
    im: [D, N],
    br: [B, L, N],
    bi: [B, L, N],
    cr: [D, N],
    ci: [D, N],
    hr: [B, D, N],
    hi: [B, D, N],
    keep: [B, L],
  });
  const model = ({ u, delta, re, im, br, bi, cr, ci, hr, hi, keep }: typeof inputs): readonly Tensor[] => {
    const dt = column(softplus(delta));
    const size = mul(exp(mul(dt, mul(exp(re), -1))), reshape(keep, [B, L, 1, 1]));
    const angle = mul(dt, im);
    const a: ComplexParts = { re: mul(size, cos(angle)), im: mul(size, sin(angle)) };
    const drive = mul(dt, column(u));
    const b = { re: mul(drive, expandDims(br, 2)), im: mul(drive, expandDims(bi, 2)) };
    const h = complexLinearScan({ a, b, h0: { re: hr, im: hi }, axis: 1 });
    const last = (x: Tensor): Tensor => reshape(sliceAxis(x, 1, L - 1, L), [B, D, N]);
    return [mul(2, sum(sub(mul(h.re, cr), mul(h.im, ci)), -1)), last(h.re), last(h.im)];
  };
  const plan = await check(await withGradients(model, inputs));

  expect(scansOf(plan)).toHaveLength(2);
  expect(largest(plan)).toBeLessThan(B * L * D * N);
});

test("random programs over all subsets of the axes", async () => {
  const names = ["B", "L", "D", "N"];
  const extents: Record<string, number> = { B, L, D, N };
  let seed = 1;
  const below = (n: number): number => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return (seed >>> 16) % n;
  };
  for (let trial = 0; trial < 30; trial++) {
    const axes = names.filter((name) => name === "L" || below(4) > 0);
    if (below(4) === 0) axes.reverse();
    const along = axes.indexOf("L");
    const shape = axes.map((name) => extents[name]!);
    const subset = (): Shape => shape.map((extent) => (below(3) > 0 ? extent : 1));
    const complex = below(2) === 0;
    const inputs: Record<string, Tensor> = {};
    const input = async (of: Shape): Promise<string> => {
      const name = `x${Object.keys(inputs).length}`;
      inputs[name] = await draw(`${trial} ${name}`, of);
      return name;
    };
    const value = async (): Promise<(given: Record<string, Tensor>) => Tensor> => {
      const [x, y] = [await input(subset()), await input(subset())];
      const kind = below(4);
      return (given) => {
        const [p, q] = [given[x]!, given[y]!];
        return kind === 0
          ? mul(p, q)
          : kind === 1
            ? sigmoid(add(p, q))
            : kind === 2
              ? exp(mul(softplus(p), mul(exp(q), -1)))
              : sub(p, mul(q, silu(q)));
      };
    };
    const parts = complex ? 2 : 1;
    const list = async <T>(make: () => Promise<T>): Promise<T[]> => {
      const out: T[] = [];
      for (let k = 0; k < parts; k++) out.push(await make());
      return out;
    };
    const [a, b, c] = [await list(value), await list(value), await list(value)];
    const h0 = below(2) === 0 ? await list(() => input(shape.filter((_, k) => k !== along))) : undefined;
    const reverse = below(3) === 0;
    const out = axes.flatMap((_, k) => (k !== along && below(2) === 0 ? [k] : []));
    const [asksLast, gate] = [below(2) === 0, below(2) === 0 ? await value() : undefined];
    const program = (given: Record<string, Tensor>): readonly Tensor[] => {
      const of = (f: readonly ((g: Record<string, Tensor>) => Tensor)[]): Tensor[] =>
        f.map((g) => broadcastTo(g(given), shape));
      const [av, bv, cv] = [of(a), of(b), of(c)];
      const first = h0?.map((name) => given[name]!);
      const decay = av.map((x) => mul(x, 0.5));
      const h = complex
        ? ((z: ComplexParts) => [z.re, z.im])(
            complexLinearScan({
              a: { re: decay[0]!, im: decay[1]! },
              b: { re: bv[0]!, im: bv[1]! },
              h0: first && { re: first[0]!, im: first[1]! },
              axis: along,
              reverse,
            }),
          )
        : [linearScan({ a: decay[0]!, b: bv[0]!, h0: first?.[0], axis: along, reverse })];
      const read = h.map((x, k) => mul(x, cv[k]!)).reduce((p, q) => sub(p, q));
      const y = out.length > 0 ? sum(read, out) : read;
      const last = asksLast ? h.map((x) => sliceAxis(x, along, reverse ? 0 : L - 1, reverse ? 1 : L)) : [];
      return [gate ? mul(y, sum(broadcastTo(gate(given), shape), out)) : y, ...last];
    };
    const build = await withGradients(program, inputs);
    const plan = await check(build);
    for (const kernel of scansOf(plan)) expect(kernel.extents.length).toBe(shape.length);
    if (out.length > 0) expect(plan.steps.filter(({ kind }) => kind === "native").map(({ name }) => name)).toEqual([]);
    await check(build, { fuse: false });
    await check(build, { scans: { ...OPTIONS.scans!, maxBuffers: 6 } });
  }
});

test.each([
  ["squares of the states", (h: Tensor): Tensor => sum(mul(h, h), -1)],
  ["exponentials", (h: Tensor) => sum(exp(mul(h, 0.1)), -1)],
])("a readout by %s stores the states, and says why", async (_, readout) => {
  const inputs = await drawAll({ a: [B, L, 1, N], b: [B, L, D, N] });
  const plan = await check(
    await withGradients(
      ({ a, b }) => [readout(linearScan({ a: broadcastTo(sigmoid(a), [B, L, D, N]), b, axis: 1 }))],
      inputs,
    ),
  );
  expect(plan.steps.map(({ name }) => name).join("\n")).toContain("the cotangent of the states depends on the states");
  expect(scansOf(plan)).toHaveLength(2);
});

test("the state before a step is a shift", async () => {
  const inputs = await drawAll({ a: [B, L, D, N], b: [B, L, D, 1], c: [B, L, D, N], h0: [B, D, N] });
  const shift = ({ a, b, c, h0 }: typeof inputs): readonly Tensor[] => {
    const h = linearScan({ a: sigmoid(a), b: broadcastTo(b, [B, L, D, N]), h0, axis: 1 });
    return [sum(mul(concat([expandDims(h0, 1), sliceAxis(h, 1, 0, L - 1)], 1), c), -1)];
  };
  const plan = await check(await withGradients(shift, inputs));
  expect(scansOf(plan)).toHaveLength(2);
});

test("what cannot be computed inside has memory", async () => {
  const inputs = await drawAll({ a: [B, L, D, N], b: [B, L, D, N], c: [B, D, N], w: [N, 3] });
  type Inputs = typeof inputs;
  const programs: Record<string, (given: Inputs) => readonly Tensor[]> = {
    flipped: ({ a, b }) => [sum(mul(flip(linearScan({ a: sigmoid(a), b, axis: 1 }), 1), b), -1)],
    "differences of steps": ({ a, b }) => {
      const h = linearScan({ a: sigmoid(a), b, axis: 1 });
      return [sum(exp(mul(0.1, sub(sliceAxis(h, 1, 1, L), sliceAxis(h, 1, 0, L - 1)))), 2)];
    },
    "the last state at every step": ({ a, b }) => {
      const h = linearScan({ a: sigmoid(a), b, axis: 1 });
      return [sum(mul(h, broadcastTo(sliceAxis(h, 1, L - 1, L), h.shape)), -1)];
    },
    "a product with a matrix": ({ a, b, w }) => [matmul(linearScan({ a: sigmoid(a), b, axis: 1 }), w)],
    "two recurrences": ({ a, b }) => [
      sum(linearScan({ a: sigmoid(b), b: linearScan({ a: sigmoid(a), b, axis: 1 }), axis: 2 }), 3),
    ],
    "the readout decides what is read": ({ a, b, c }) => {
      const h = linearScan({ a: sigmoid(a), b, axis: 1 });
      const y = sum(mul(h, expandDims(c, 1)), -1);
      return [sum(mul(h, column(sigmoid(y))), -1)];
    },
    "transposed sums": ({ a, b }) => [sum(transpose(linearScan({ a: sigmoid(a), b, axis: 1 }), [2, 0, 3, 1]), 2)],
    "a sum and all states": ({ a, b, c }) => {
      const h = linearScan({ a: sigmoid(a), b, axis: 1 });
      return [sum(mul(h, expandDims(c, 1)), -1), h];
    },
    "a step in the middle": ({ a, b }) => [sum(sliceAxis(linearScan({ a: sigmoid(a), b, axis: 1 }), 1, 2, 3), 2)],
    "both ends": ({ a, b }) => {
      const h = linearScan({ a: sigmoid(a), b, axis: 1 });
      return [sum(mul(sliceAxis(h, 1, 0, 1), sliceAxis(h, 1, L - 1, L)), 3)];
    },
    "axes merged and split": ({ a, b, c }) => [
      sum(
        mul(
          reshape(linearScan({ a: reshape(sigmoid(a), [B, L, D * N]), b: reshape(b, [B, L, D * N]), axis: 1 }), [
            B,
            L,
            D,
            N,
          ]),
          expandDims(c, 1),
        ),
        3,
      ),
    ],
  };
  for (const [name, program] of Object.entries(programs))
    for (const options of [
      {},
      { fuse: false },
      { scans: { passes: scanPasses, maxBuffers: 5, accepts: () => true as const } },
      { scans: { passes: scanPasses, maxBuffers: 32, accepts: () => "not today" } },
      { scans: undefined },
    ])
      await check(await withGradients(program, inputs), options).catch((error: unknown) => {
        throw new Error(`${name} ${JSON.stringify(options)}: ${String(error)}`, { cause: error });
      });
});

test("length 1, and axes of extent 1", async () => {
  for (const [b, l, d, n] of [
    [2, 1, 3, 4],
    [1, 5, 1, 1],
    [1, 1, 1, 1],
    [2, 5, 3, 1],
  ] as const) {
    const inputs = await drawAll({ a: [b, l, d, n], x: [b, l, d, 1], c: [b, l, 1, n], h0: [b, d, n] });
    const program = ({ a, x, c, h0 }: typeof inputs): readonly Tensor[] => {
      const h = linearScan({ a: sigmoid(a), b: broadcastTo(x, [b, l, d, n]), h0, axis: 1 });
      return [sum(mul(h, c), -1), reshape(sliceAxis(h, 1, l - 1, l), [b, d, n])];
    };
    await check(await withGradients(program, inputs));
  }
});

test("a checkpoint computes the states in steps of its own", async () => {
  const inputs = await mambaInputs();
  const plan = await check(await withGradients((given: Mamba) => checkpoint(mamba)(given), inputs));
  expect(largest(plan)).toBeLessThan(B * L * D * N);
});

test("second derivatives", async () => {
  const inputs = await drawAll({ a: [B, L, D], b: [B, L, D] });
  for (const complex of [false, true]) {
    const loss = ({ a, b }: typeof inputs): Tensor => {
      const h = complex
        ? complexLinearScan({ a: { re: sigmoid(a), im: a }, b: { re: b, im: a }, axis: 1 }).re
        : linearScan({ a: sigmoid(a), b, axis: 1 });
      return sum(mul(h, mul(h, b)));
    };
    await check(() =>
      leavesOf(
        grad((given: typeof inputs) =>
          leavesOf(grad(loss)(given))
            .map((g) => sum(mul(g, g)))
            .reduce(add),
        )(inputs),
      ),
    );
  }
});

test.each([6, 8, 12, 16])(
  "with %i buffers a step every step fits, and from 12 on no slot holds the states",
  async (maxBuffers) => {
    const plan = await check(await withGradients(mamba, await mambaInputs()), {
      scans: { passes: scanPasses, maxBuffers, accepts: () => true },
    });
    for (const step of plan.steps)
      if (step.kind === "scan") expect(step.inputs.length + step.outputs.length).toBeLessThanOrEqual(maxBuffers);
    if (maxBuffers < 12) return;
    expect(largest(plan)).toBeLessThan(B * L * D * N);
  },
);

test("two recurrences that read each other's sums do not wait for each other", async () => {
  const { a, b, c } = await drawAll({ a: [B, L, D, N], b: [B, L, D, N], c: [B, 1, D, N] });
  const plan = await check(() => {
    const [g, h] = [linearScan({ a: sigmoid(a), b, axis: 1 }), linearScan({ a: sigmoid(b), b: a, axis: 1 })];
    const [p, q] = [sum(mul(g, c), -1), sum(mul(h, c), -1)];
    return [sum(mul(g, column(q)), -1), sum(mul(h, column(p)), -1)];
  });
  expect(plan.steps.map(({ name }) => name).join()).toContain("its results are needed for what it reads");
});

test("several recurrences may ask for the same memory in one pass", async () => {
  // A read of states and one of their sums, multiplied, twice: both gradients need the sums whole.
  const { q, k, v } = await drawAll({ q: [B, L, D], k: [B, L, D], v: [B, L, N] });
  const read = (keys: Tensor, values: Tensor): Tensor => {
    const shape = [B, L, D, values.shape[2]!];
    const b = broadcastTo(mul(expandDims(keys, 3), expandDims(values, 2)), shape);
    return sum(mul(linearScan({ a: full(shape, 1), b, axis: 1 }), expandDims(q, 3)), 2);
  };
  await check(() => {
    const product = (keys: Tensor, values: Tensor): Tensor => mul(read(keys, values), read(keys, full([B, L, 1], 1)));
    return grad(([keys, values]: readonly Tensor[]) => sum(add(product(keys!, values!), product(keys!, values!))))([
      k,
      v,
    ]);
  });
});

test("what a device refuses runs as before, and says why", async () => {
  const inputs = await mambaInputs();
  const plan = await check(await withGradients(mamba, inputs), {
    scans: { passes: scanPasses, maxBuffers: 32, accepts: () => "too many axes" },
  });
  expect(scansOf(plan)).toEqual([]);
  expect(plan.steps.filter(({ kind }) => kind === "native").map(({ name }) => name)).toEqual([
    "linearScan (too many axes)",
    "linearScan (too many axes)",
  ]);
  const partly = await check(await withGradients(mamba, inputs), {
    scans: { passes: scanPasses, maxBuffers: 32, accepts: ({ adjoint }) => adjoint === undefined || "no gradients" },
  });
  expect(scansOf(partly).map(({ reverse }) => reverse)).toEqual([false, true]);
  expect(partly.steps.map(({ name }) => name).join("\n")).toContain("states stored, since no gradients");
});

test("a prologue that is much work has memory before it is broadcast over the states; what is less is computed inside", async () => {
  const { x, rate, weight } = await drawAll({ x: [B, L, D], rate: [D, N], weight: [B, L, D] });
  const plans = [(): Tensor => uniform(key(5), [B, L, D]), (): Tensor => sigmoid(x)].map((factor) =>
    check(() => {
      const loss = (given: readonly Tensor[]): Tensor => {
        const step = column(mul(softplus(given[0]!), factor()));
        return sum(
          mul(
            sum(
              linearScan({
                a: exp(mul(step, mul(exp(given[1]!), -1))),
                b: broadcastTo(mul(step, column(given[0]!)), [B, L, D, N]),
                axis: 1,
              }),
              -1,
            ),
            weight,
          ),
        );
      };
      return leavesOf(grad(loss)([x, rate]));
    }),
  );
  const [random, cheap] = await Promise.all(plans);
  const ops = (plan: Plan): Set<Scalar["op"]> =>
    new Set(scansOf(plan).flatMap(({ decay, drive }) => [...nodesOf([...decay, ...drive])].map(({ op }) => op)));
  expect(ops(random!)).not.toContain("bitXor");
  expect(ops(cheap!)).toContain("sigmoid");
  for (const plan of [random!, cheap!]) expect(largest(plan)).toBeLessThan(B * L * D * N);
});

test("a sum over an axis that the forward result keeps is left to the gradient's step, unless the gradient reads it", async () => {
  const few = 2;
  const { x, rate, C, cotangent } = await drawAll({
    x: [B, L, D],
    rate: [D, few],
    C: [B, L, few],
    cotangent: [B, L, D],
  });
  const forward = ([u, r, c]: readonly Tensor[]): Tensor => {
    const step = column(softplus(u!));
    return sum(
      mul(
        linearScan({ a: exp(mul(step, mul(exp(r!), -1))), b: broadcastTo(step, [B, L, D, few]), axis: 1 }),
        expandDims(c!, 2),
      ),
      -1,
    );
  };
  const keeps = (plan: Plan): string[][] =>
    scansOf(plan).map(({ sums }) => sums.map((each) => each.keeps.join("")).sort());
  // y [B L D], then the gradients of x, rate and C [B L N]
  const both = await check(() => {
    const [y, pullBack] = vjp(forward, [x, rate, C]);
    return [y, ...leavesOf(pullBack(cotangent))];
  });
  expect(keeps(both)[0]).toEqual(["012"]);
  expect(keeps(both)[1]).toContain("013");
  // The sum over the channels goes into the loss and so into the cotangent of the states.
  const read = await check(() =>
    leavesOf(
      grad(([u]: readonly Tensor[]): Tensor => {
        const step = column(softplus(u!));
        const h = linearScan({ a: exp(mul(step, mul(exp(rate), -1))), b: broadcastTo(step, [B, L, D, few]), axis: 1 });
        const [perChannel, perState] = [sum(mul(h, expandDims(C, 2)), -1), sum(h, 2)];
        return add(sum(mul(perChannel, perChannel)), sum(mul(perState, mul(perState, perState))));
      })([x]),
    ),
  );
  expect(keeps(read)[0]).toContain("013");
});
