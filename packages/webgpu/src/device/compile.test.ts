import {
  add,
  compile,
  concat,
  dispose,
  linearScan,
  matmul,
  mean,
  mul,
  realize,
  sliceAxis,
  softmax,
  square,
  sub,
  tanh,
  tensor,
  valueAndGrad,
  type Tensor,
} from "@seqmix/tensor";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { WebGpuDevice } from "../index.js";
import { testDevice } from "../testing/test-device.js";

let device: WebGpuDevice;
beforeAll(async () => {
  device = await testDevice();
});
afterAll(() => device.close());

const wave = (shape: readonly number[], phase: number): Tensor => {
  const size = shape.reduce((a, b) => a * b, 1);
  return tensor(
    Float32Array.from({ length: size }, (_, k) => Math.sin(1.7 * k + phase)),
    shape,
  );
};

type Parameters = { readonly a: Tensor; readonly w: Tensor };
const start = (): Parameters => ({ a: wave([3], 1), w: wave([3, 4], 2) });

const loss = valueAndGrad(({ a, w }: Parameters, x: Tensor): Tensor => {
  const h = linearScan({ a: mul(add(mul(x, 0), 1), tanh(a)), b: tanh(x), axis: 0 });
  return mean(square(sub(softmax(matmul(h, w), -1), 0.5)));
});

const advance = (params: Parameters, x: Tensor): readonly [Parameters, Tensor] => {
  const [value, gradient] = loss(params, x);
  return [{ a: sub(params.a, mul(gradient.a, 0.1)), w: sub(params.w, mul(gradient.w, 0.1)) }, value];
};

type Step = (params: Parameters, x: Tensor) => Promise<readonly [Parameters, Tensor]>;
const compiled = (): Step => compile(advance, { device, donate: [0] });
const plainly: Step = async (params, x) => {
  const next = advance(params, x);
  await realize(next, { device, donate: [params] });
  return next;
};

async function train(step: Step, steps: number): Promise<number[]> {
  let params = start();
  const losses: Tensor[] = [];
  for (let t = 0; t < steps; t++) {
    const x = wave([5, 3], 0.1 * t);
    const [next, value] = await step(params, x);
    params = next;
    losses.push(value);
    x.dispose();
  }
  const seen: number[] = [];
  for (const x of [...losses, params.a, params.w]) seen.push(...(await x.data()));
  dispose([params, losses]);
  return seen;
}

test("200 compiled training steps give the numbers of the uncompiled ones, bit for bit", async () => {
  expect(await train(compiled(), 200)).toEqual(await train(plainly, 200));
});

test("memory stays flat over many compiled steps; what profiles a device sees their kernels", async () => {
  const step = compiled();
  let params = start();
  const x = wave([5, 3], 0);
  const counts: string[] = [];
  for (let t = 0; t < 60; t++) {
    const [next, value] = await step(params, x);
    params = next;
    value.dispose();
    if (t % 20 === 19) counts.push(JSON.stringify(device.memory()));
  }
  expect(new Set(counts).size).toBe(1);
  const kernels: string[] = [];
  device.recorder = {
    begin(encoder, steps) {
      kernels.push(...steps.map(({ name }) => name));
      return encoder.beginComputePass();
    },
  };
  const result = await step(params, x);
  device.recorder = undefined;
  const lines = (await compile(advance, { device }).explain(result[0], x)).split("\n");
  expect(lines.map((line, k) => line.startsWith(`${kernels[k]}: `))).toEqual(kernels.map(() => true));
  dispose([result[0], result[1], x]);
});

test("in the long run a step makes neither buffers nor bind groups, though its results and what it is given change places", async () => {
  const [makeBuffer, makeGroup] = [
    device.gpu.createBuffer.bind(device.gpu),
    device.gpu.createBindGroup.bind(device.gpu),
  ];
  let made = 0;
  device.gpu.createBuffer = (descriptor) => (made++, makeBuffer(descriptor));
  device.gpu.createBindGroup = (descriptor) => (made++, makeGroup(descriptor));
  // The states of a size cannot lie where they lay, and what is read of a step comes back late.
  const shift = compile(
    (states: readonly Tensor[], x: Tensor): readonly [readonly Tensor[], Tensor] => {
      const next = states.map((s) => concat([sliceAxis(s, 0, 1, 4), add(x, mean(s))], 0));
      return [next, add(x, mean(next[0]!))];
    },
    { device, donate: [0] },
  );
  let states: readonly Tensor[] = Array.from({ length: 12 }, (_, phase) => wave([4], phase));
  let x = wave([1], 5);
  const late: Promise<unknown>[] = [];
  // How many reads are under way at once depends on the machine: it may take a while until all that they need is there.
  let quiet = 0;
  for (let t = 0; t < 400 && quiet < 32; t++) {
    made = 0;
    const before = x;
    [states, x] = await shift(states, before);
    late.push(before.data());
    before.dispose();
    if (late.length > 2) await late.shift();
    quiet = made === 0 ? quiet + 1 : 0;
  }
  await Promise.all(late);
  Object.assign(device.gpu, { createBuffer: makeBuffer, createBindGroup: makeGroup });
  expect(quiet).toBe(32);
  dispose([states, x]);
});
