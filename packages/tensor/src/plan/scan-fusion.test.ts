import { expect, test } from "vitest";
import { opTable } from "../index.js";
import {
  add, broadcastTo, complexLinearScan, concat, cos, exp, expandDims, flip, grad, key, leavesOf, linearScan, matmul, mul, normal, realize, reference, reshape, sigmoid, silu, sin, sliceAxis, softplus, sub, sum, transpose, uniform, valueAndGradAux,
  type ComplexParts, type Shape, type Tensor,
} from "../index.js";
import type { ReferenceArray } from "../op.js";
import type { ScanKernel } from "../scan-kernel.js";
import { sizeOf } from "../shape.js";
import { makePlan, type NativeCall, type Plan, type PlanOptions } from "./plan.js";
import { interpretLoop, interpretScan, type Numbers } from "./scan-interpreter.js";
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
    const results = step.kind === "loop" ? interpretLoop(step.kernel, inputs) : step.kind === "scan" ? interpretScan(step.kernel, inputs) : runNative(step.call, inputs);
    step.outputs.forEach((slot, k) => (memory[slot] = results[k]!));
  }
  return plan.roots.map((slot) => memory[slot]!);
}

const OPTIONS: PlanOptions = { device: "none", fuse: true, maxBuffers: 32, scans: () => true };

/** Plans the tensors, runs the plan and compares with the reference device. Leaves are drawn first. */
async function check(build: () => readonly Tensor[], options: Partial<PlanOptions> = {}): Promise<Plan> {
  const expected = build();
  await realize(expected, { device: reference() });
  const { roots, leaves } = graphOf(build());
  const plan = makePlan(roots, leaves, { ...OPTIONS, ...options });
  const actual = runPlan(plan, leaves);
  for (const [k, x] of expected.entries()) {
    const want = await x.data();
    const scale = want.reduce((a: number, b: number) => Math.max(a, Math.abs(b)), 1e-6);
    expect(actual[k]!.length).toBe(want.length);
    want.forEach((value: number, i: number) => {
      if (!(Math.abs(value - actual[k]![i]!) <= 1e-9 * scale)) throw new Error(`root ${k} element ${i}: expected ${value}, got ${actual[k]![i]}\n${plan.steps.map(({ name }) => name).join("\n")}`);
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
    drawn.set(id, (async () => {
      const k = key([...id].reduce((a, c) => (a * 31 + c.charCodeAt(0)) | 0, 7));
      const x = low === undefined ? normal(k, shape) : add(mul(uniform(k, shape), high! - low), low);
      const { tensor } = await import("../tensor.js");
      return tensor(Float64Array.from(await (await realize(x, { device: reference() })).data()), shape);
    })());
  return drawn.get(id)!;
}

async function drawAll<K extends string>(shapes: Readonly<Record<K, Shape>>): Promise<Record<K, Tensor>> {
  const out = {} as Record<K, Tensor>;
  for (const name of Object.keys(shapes) as K[]) out[name] = await draw(name, shapes[name]);
  return out;
}

/** Outputs, and gradients of a weighted sum of all of them with respect to everything. */
async function withGradients<K extends string>(f: (inputs: Record<K, Tensor>) => readonly Tensor[], inputs: Record<K, Tensor>): Promise<() => readonly Tensor[]> {
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
const mambaInputs = (): Promise<Mamba> => drawAll({ u: [B, L, D], delta: [B, L, D], A: [D, N], b: [B, L, N], c: [B, L, N], bias: [D], skip: [D], z: [B, L, D], h0: [B, D, N] });
const mamba = ({ u, delta, A, b, c, bias, skip, z, h0 }: Mamba): readonly Tensor[] => {
  const dt = softplus(add(delta, bias));
  const h = linearScan({ a: exp(mul(column(dt), mul(exp(A), -1))), b: mul(column(mul(dt, u)), expandDims(b, 2)), h0, axis: 1 });
  const y = sum(mul(h, expandDims(c, 2)), -1);
  return [mul(add(y, mul(u, skip)), silu(z)), reshape(sliceAxis(h, 1, L - 1, L), [B, D, N])];
};

test("a selective scan is one step forward and one backward, and [B L D N] never has memory", async () => {
  const inputs = await mambaInputs();
  const forward = await check(() => mamba(inputs));
  console.log(forward.steps.map((s) => s.name).join("\n"));
  const plan = await check(await withGradients(mamba, inputs));
  console.log(plan.steps.map((s) => s.name).join("\n"));
  expect(scansOf(plan)).toHaveLength(2);
  expect(largest(plan)).toBeLessThan(B * L * D * N);
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
  console.log(plan.steps.map((s) => s.name).join("\n"));
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
  console.log(plan.steps.map((s) => s.name).join("\n"));
  expect(scansOf(plan).map(({ reverse }) => reverse)).toEqual([false, true]);
});

test("gated states: the gate is applied inside, and the gradient computes the states again", async () => {
  const inputs = await drawAll({ z: [B, L, D], x: [B, L, D], o: [B, L, D], w: [D, D] });
  const gated = ({ z, x, o, w }: Record<"z" | "x" | "o" | "w", Tensor>): readonly Tensor[] => [matmul(mul(linearScan({ a: sigmoid(z), b: x, axis: 1, reverse: true }), silu(o)), w)];
  const plan = await check(await withGradients(gated, inputs));
  console.log(plan.steps.map((s) => s.name).join("\n"));
  expect(scansOf(plan).map(({ adjoint }) => adjoint !== undefined)).toEqual([false, true]);
});

test("a complex state-space model with resets", async () => {
  const inputs = await drawAll({ u: [B, L, D], delta: [B, L, D], re: [D, N], im: [D, N], br: [B, L, N], bi: [B, L, N], cr: [D, N], ci: [D, N], hr: [B, D, N], hi: [B, D, N], keep: [B, L] });
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
  console.log(plan.steps.map((s) => s.name).join("\n"));
  expect(scansOf(plan)).toHaveLength(2);
  expect(largest(plan)).toBeLessThan(B * L * D * N);
});
