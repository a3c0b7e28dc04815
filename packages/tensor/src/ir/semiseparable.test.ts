import { beforeAll, expect, test } from "vitest";
import { whenLoaded } from "../graph/on-demand.js";
import {
  broadcastTo,
  exp,
  expandDims,
  grad,
  leavesOf,
  linearScan,
  mul,
  neg,
  reshape,
  sigmoid,
  silu,
  sliceAxis,
  softplus,
  sub,
  sum,
  tensor,
  vjp,
  add,
  type Shape,
  type Tensor,
  type Tree,
} from "../index.js";
import { makePlan } from "../plan/planner.js";
import { scanPasses } from "../plan/scan-passes.js";
import { graphOf } from "../plan/signature.js";
import { semiseparable } from "./semiseparable.js";

const [B, L, H, G, K, V] = [2, 12, 4, 2, 6, 8];
const values = (shape: Shape, k = 0): Tensor =>
  tensor(
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i + k)),
    shape,
  );

/** What the rule finds in the scan steps of a graph. */
function formsOf(tree: Tree): string[] {
  const { roots, leaves } = graphOf(leavesOf(tree));
  const { steps } = makePlan(roots, leaves, {
    device: "none",
    fuse: true,
    maxBuffers: 32,
    scans: { passes: scanPasses, maxBuffers: 32, accepts: () => true },
  });
  return steps.flatMap((step) => {
    if (step.kind !== "scan") return [];
    const form = semiseparable(step.kernel);
    if (typeof form === "string") return [`no: ${form}`];
    const { extents } = form.kernel;
    const roles = form.sums.map((s) => (s.role === "read" ? `${s.state} over ${s.over}` : s.role));
    return [
      `${extents[form.keys]} keys ${extents[form.values]} values, ${form.decay.kind} decay: ${roles.sort().join(", ")}`,
    ];
  });
}

/** Mamba-2's operator. */
function ssd({ x, dt, A, Bm, C, D, z, h0, resets }: Record<string, Tensor>): { y: Tensor; last: Tensor } {
  const all = [B, L, G, H / G, K, V];
  const heads = (t: Tensor): Tensor => reshape(t, [...t.shape.slice(0, 2), G, H / G, ...t.shape.slice(3)]);
  const step = heads(softplus(dt!));
  let a = exp(mul(step, neg(exp(reshape(A!, [G, H / G])))));
  if (resets) a = mul(a, sub(1, reshape(resets, [B, L, 1, 1])));
  const drive = mul(
    reshape(mul(heads(x!), expandDims(step, -1)), [B, L, G, H / G, 1, V]),
    reshape(Bm!, [B, L, G, 1, K, 1]),
  );
  const h = linearScan({
    a: broadcastTo(reshape(a, [B, L, G, H / G, 1, 1]), all),
    b: broadcastTo(drive, all),
    ...(h0 && { h0 }),
    axis: 1,
  });
  let y = reshape(sum(mul(h, reshape(C!, [B, L, G, 1, K, 1])), 4), [B, L, H, V]);
  y = mul(add(y, mul(x!, reshape(D!, [H, 1]))), silu(z!));
  return { y, last: reshape(sliceAxis(h, 1, L - 1, L), [B, G, H / G, K, V]) };
}
const ssdInputs = (): Record<string, Tensor> => ({
  x: values([B, L, H, V]),
  dt: values([B, L, H], 1),
  A: values([H], 2),
  Bm: values([B, L, G, K], 3),
  C: values([B, L, G, K], 4),
  D: values([H], 5),
  z: values([B, L, H, V], 6),
  h0: values([B, G, H / G, K, V], 7),
});

const all = [B, L, H, K, V];
const qkv = (): Record<"q" | "k" | "v", Tensor> => ({
  q: values([B, L, H, K, 1]),
  k: values([B, L, H, K, 1], 1),
  v: values([B, L, H, 1, V], 2),
});
function attention(a: Tensor, { q, k, v }: Record<string, Tensor>): Tensor {
  const h = linearScan({ a: broadcastTo(a, all), b: broadcastTo(mul(k!, v!), all), axis: 1 });
  return sum(mul(h, q!), -2);
}
const none = (): Tensor => tensor(Float32Array.of(1), [1, 1, 1, 1, 1]);
const gates = (x: Tensor): Tensor => exp(neg(exp(x)));
const forward = (decay: string): string[] => [`6 keys 8 values, ${decay} decay: current over keys`];
const backward = (decay: string, ofDecay = true): string[] => [
  `6 keys 8 values, ${decay} decay: ${["adjoint over keys", "adjoint over values", "current over values", ...(ofDecay ? ["decay"] : [])].join(", ")}`,
];

/** Passes among several kernels are loaded with the first plan that has them. */
beforeAll(async () => void (await whenLoaded(() => formsOf([sum(values([4])), values([4]), ssd(ssdInputs())]))));

test("the recurrences of attention and state-space models are recognised, and their gradients", () => {
  expect(formsOf(ssd(ssdInputs()))).toEqual(["6 keys 8 values, scalar decay: current over keys"]);
  expect(formsOf(ssd({ ...ssdInputs(), resets: values([B, L], 8) }))).toEqual(forward("scalar"));
  const ssdGradient = (more: Record<string, Tensor>): Tree =>
    grad((p: Record<string, Tensor>) => sum(mul(ssd({ ...p, ...more }).y, values([B, L, H, V]))))(ssdInputs());
  // the gradient of z reads y: it is in the step before
  expect(formsOf(ssdGradient({}))).toEqual([...forward("scalar"), ...backward("scalar")]);
  expect(formsOf(ssdGradient({ resets: values([B, L], 8) }))).toEqual([...forward("scalar"), ...backward("scalar")]);
  expect(formsOf(attention(values([1, 1, H, 1, 1]), qkv())), "retention").toEqual(forward("constant"));
  expect(formsOf(attention(none(), qkv())), "linear attention").toEqual(forward("constant"));
  expect(formsOf(attention(gates(values([B, L, H, K, 1])), qkv())), "gated linear attention").toEqual(
    forward("vector"),
  );
  expect(formsOf(attention(sigmoid(values([B, L, H, 1, 1])), qkv())), "a gate a head and step").toEqual(
    forward("scalar"),
  );
  const gradientOf = (a: (p: Record<string, Tensor>) => Tensor, more: Record<string, Tensor> = {}): string[] => {
    const [y, pullBack] = vjp((p: Record<string, Tensor>) => attention(a(p), p), { ...qkv(), ...more });
    return formsOf([y, pullBack(values([B, L, H, V], 9))]);
  };
  expect(gradientOf(none), "linear attention").toEqual([...forward("constant"), ...backward("constant", false)]);
  expect(
    gradientOf((p) => gates(p.g!), { g: values([B, L, H, K, 1], 4) }),
    "gated",
  ).toEqual([...forward("vector"), ...backward("vector")]);
  expect(
    gradientOf((p) => gates(p.g!), { g: values([H, 1, 1], 4) }),
    "a decay a head",
  ).toEqual([...forward("constant"), ...backward("constant")]);
});

test("what is not of the form is refused, and why", () => {
  const decay = exp(mul(values([B, L, V, 1]), values([V, K])));
  const mamba = linearScan({ a: decay, b: mul(values([B, L, 1, K]), values([B, L, V, 1])), axis: 1 });
  expect(formsOf(sum(mul(mamba, values([B, L, 1, K], 1)), -1)), "Mamba").toEqual(["no: the drive is no outer product"]);
  const lru = linearScan({ a: broadcastTo(values([1, 1, K]), [B, L, K]), b: values([B, L, K]), axis: 1 });
  expect(formsOf(sum(mul(lru, values([B, L, K], 1)), -1)), "LRU").toEqual(["no: the drive is no outer product"]);
  const h = linearScan({
    a: broadcastTo(values([B, L, 1, 1]), [B, L, K, V]),
    b: mul(values([B, L, K, 1]), values([B, L, 1, V])),
    axis: 1,
  });
  expect(formsOf(h), "states asked for").toEqual(["no: states of every step are stored"]);
  expect(formsOf(sum(mul(h, h), 2)), "the square of the states").toEqual(["no: a sum is no product with the states"]);
  expect(formsOf(sum(mul(h, values([B, L, K, V])), 2)), "a readout of its own for each state").toEqual([
    "no: what the states are multiplied by depends on keys and values",
  ]);
});

test("a sum of several contractions is refused, a scaled one is not", () => {
  const { q, k, v } = qkv();
  const h = linearScan({ a: broadcastTo(values([B, L, H, 1, 1]), all), b: broadcastTo(mul(k, v), all), axis: 1 });
  expect(formsOf(sum(mul(neg(mul(h, q)), values([B, L, H, 1, 1])), -2))).toEqual(forward("scalar"));
  expect(formsOf(sum(add(mul(h, q), h), -2))).toEqual(["no: a sum is no product with the states"]);
});
