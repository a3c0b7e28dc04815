// A small kernel record with variants for both devices: what the WebGPU device makes of it.
import {
  add,
  arange,
  cast,
  cpu,
  defineKernel,
  expandDims,
  explain,
  grad,
  key,
  mul,
  normal,
  realize,
  reference,
  sum,
  type GpuVariant,
  type Kernel,
  type Tensor,
} from "@seqmix/tensor";
import { declare, declareParameters, entryPoint, type GpuLimits, type GpuProgram } from "@seqmix/tensor/wgsl";
import { checkKernel } from "@seqmix/testing";
import { afterAll, expect, test } from "vitest";
import { testDevice } from "../testing/test-device.js";

const device = await testDevice({ poison: true });
const small = await testDevice({
  limits: {
    maxStorageBuffersPerShaderStage: 8,
    maxComputeWorkgroupStorageSize: 16384,
    maxComputeInvocationsPerWorkgroup: 256,
  },
});
afterAll(async () => {
  await device.close();
  await small.close();
});

type Inputs = { readonly x: "B N"; readonly gain: "B" };
type Outputs = { readonly y: "B N" };
type Ramp = Kernel<Inputs, Outputs, undefined>;
type Case = Parameters<GpuVariant<undefined>["forward"]>[0];

const typeOf = ({ halves }: Case, { storesHalf }: GpuLimits): "f16" | "f32" =>
  halves.has("x") && storesHalf === true ? "f16" : "f32";

/** y = gain x ramp, one thread an element. Buffers: x, gain, ramp, y. */
function forward(kase: Case, limits: GpuLimits): GpuProgram {
  const { B, N } = kase.dims;
  const parameters = { size: B! * N!, row: N! };
  const type = typeOf(kase, limits);
  const code = `${declare(0, "x", "read", type)}${declare(1, "gain", "read", "f32")}${declare(2, "ramp", "read", "f32")}${declare(3, "y", "read_write", "f32")}${declareParameters(4, parameters)}${entryPoint(
    64,
    `let i = group * 64u + thread;
if (i >= u32(p.size)) { return; }
y[i] = gain[i / u32(p.row)] * f32(x[i]) * ramp[i % u32(p.row)];`,
  )}`;
  const buffers = [0, 1, 2, 3].map((buffer) => ({ buffer, access: buffer === 3 ? "read_write" : "read" }) as const);
  return {
    name: `ramp of ${type}`,
    passes: [{ code, buffers, parameters, groups: Math.ceil((B! * N!) / 64) }],
    scratch: [],
  };
}

/** Buffers: x, gain, dy, ramp, dx, dgain; a thread takes a row. */
function backward(kase: Case, limits: GpuLimits): GpuProgram {
  const { B, N } = kase.dims;
  const parameters = { rows: B!, row: N! };
  const code = `${declare(0, "x", "read", typeOf(kase, limits))}${["gain", "dy", "ramp"].map((name, k) => declare(k + 1, name, "read", "f32")).join("")}${["dx", "dgain"].map((name, k) => declare(k + 4, name, "read_write", "f32")).join("")}${declareParameters(6, parameters)}${entryPoint(
    64,
    `let row = group * 64u + thread;
if (row >= u32(p.rows)) { return; }
var total = 0.0;
for (var k = 0u; k < u32(p.row); k++) {
  let at = row * u32(p.row) + k;
  dx[at] = gain[row] * dy[at] * ramp[k];
  total += f32(x[at]) * dy[at] * ramp[k];
}
dgain[row] = total;`,
  )}`;
  const buffers = [0, 1, 2, 3, 4, 5].map((buffer) => ({ buffer, access: buffer > 3 ? "read_write" : "read" }) as const);
  return { name: "ramp backward", passes: [{ code, buffers, parameters, groups: Math.ceil(B! / 64) }], scratch: [] };
}

let made = 0;
const onGpu: GpuVariant<undefined> = {
  device: "webgpu",
  name: "by hand",
  supports: ({ dims: { B, N } }) => B! * N! > 0 || "expected elements, got none",
  tables: ({ dims: { N } }) => [
    { name: `ramp ${N}`, values: () => (made++, Float32Array.from({ length: N! }, (_, k) => k + 1)) },
  ],
  forward,
  backward,
};

const rampWith = (...variants: GpuVariant<undefined>[]): Ramp =>
  defineKernel({
    name: "ramp",
    inputs: { x: "B N", gain: "B" },
    halves: ["x"],
    outputs: { y: "B N" },
    backwardReads: [],
    reference: ({ x, gain }: { readonly x: Tensor; readonly gain: Tensor }, _: undefined, { N }) => ({
      y: mul(mul(x, expandDims(gain, 1)), cast(add(arange(N!), 1), "f32")),
    }),
    cost: ({ B, N }) => ({ flops: 2 * B! * N!, bytes: 4 * (2 * B! * N! + B!) }),
    variants,
    samples: [
      { name: "f32", dims: { B: 3, N: 70 }, options: undefined },
      { name: "f16", dims: { B: 2, N: 65 }, options: undefined, halves: ["x"] },
    ],
  });
const ramp = rampWith(onGpu);
const drawn = (): { x: Tensor; gain: Tensor } => ({ x: normal(key(1), [2, 5]), gain: normal(key(2), [2]) });

test.each([
  ["the adapter's limits", device],
  ["the lowest limits", small],
])("a record's variant keeps its laws, f16 operands too, with %s", async (_, each) => {
  expect((await checkKernel(ramp, each, { variant: "by hand" })).cases).toBe(4);
});

test("explain names the variant, and its backward program wins over the reference's gradient", async () => {
  const { x, gain } = drawn();
  const gradient = grad((given: { x: Tensor; gain: Tensor }) => sum(ramp(given, undefined).y))({ x, gain });
  const text = await explain(gradient, { device });
  expect(text).toContain("ramp backward (by hand): ramp backward");
  // the forward program's results are not read, so that it does not run
  expect(text).not.toContain("ramp (by hand)");
});

test("explain says why no variant runs", async () => {
  const { x, gain } = drawn();
  const wide = { ...onGpu, name: "wide", supports: () => "expected 64 threads, got 32" };
  expect(await explain(rampWith(wide)({ x, gain }, undefined).y, { device })).toContain(
    "# ramp is composed of ops: wide: expected 64 threads, got 32",
  );
  expect(await explain(ramp({ x, gain }, undefined).y, { device: cpu() })).toContain(
    "# ramp is composed of ops: no variant for cpu",
  );
});

test("the first variant that can runs", async () => {
  const { x, gain } = drawn();
  const wide = { ...onGpu, name: "wide", supports: () => "expected more" };
  expect(await explain(rampWith(wide, onGpu)({ x, gain }, undefined).y, { device })).toContain("ramp (by hand)");
});

test("a table is made once for all plans that read it", async () => {
  const { x, gain } = drawn();
  const before = made;
  const half = cast(x, "f16");
  await realize([ramp({ x, gain }, undefined).y, mul(ramp({ x: half, gain }, undefined).y, 2)], { device });
  await realize(mul(ramp({ x, gain }, undefined).y, 3), { device });
  expect(made - before).toBeLessThanOrEqual(1);
});

test("second derivatives go through what the record is composed of", async () => {
  const second = (target: typeof device | ReturnType<typeof reference>): Promise<Tensor> => {
    const { x, gain } = drawn();
    const first = (g: Tensor): Tensor => sum(mul(grad((y: Tensor) => sum(ramp({ x: y, gain: g }, undefined).y))(x), x));
    return realize(grad(first)(gain), { device: target });
  };
  const [found, expected] = [
    [...(await (await second(device)).data())],
    [...(await (await second(reference())).data())],
  ];
  found.forEach((value, k) => expect(value).toBeCloseTo(expected[k]!, 4));
});
