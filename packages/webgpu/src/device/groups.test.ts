// Kernels that do not wait for each other share dispatches: the update of many parameters, sums that one norm is made of.
import { add, compile, div, minimum, mul, realize, sqrt, square, sub, sum, tensor, type Tensor } from "@seqmix/tensor";
import { afterAll, expect, test } from "vitest";
import { testDevice } from "../testing/test-device.js";

const device = await testDevice({ poison: true });
afterAll(() => device.close());

const SIZES = [5, 4096, 40, 3, 4097, 8192, 64, 64, 1, 12, 4096, 17, 100, 9, 2, 33, 64, 7, 21, 4100];
const wave = (size: number, seed: number): Tensor =>
  tensor(Float32Array.from({ length: size }, (_, k) => Math.sin(k * 0.7 + seed)));

/** Clips by the norm of all and moves every parameter with a moment. */
function update(params: Tensor[], moments: Tensor[], gradients: Tensor[]): [Tensor[], Tensor[]] {
  const norm = sqrt(gradients.map((g) => sum(square(g))).reduce((x, y) => add(x, y)));
  const scale = minimum(div(1, add(norm, 1e-6)), 1);
  const next = moments.map((m, k) => add(mul(m, 0.9), mul(mul(gradients[k]!, scale), 0.1)));
  return [params.map((p, k) => sub(p, mul(next[k]!, div(0.1, add(sqrt(square(next[k]!)), 1e-3))))), next];
}

const state = (): [Tensor[], Tensor[], Tensor[]] => [
  SIZES.map((size, k) => wave(size, k)),
  SIZES.map((size, k) => wave(size, k + 100)),
  SIZES.map((size, k) => wave(size, k + 200)),
];

const valuesOf = (trees: readonly Tensor[][]): Promise<number[][]> =>
  Promise.all(trees.flat().map(async (x) => [...(await x.data())]));

test("many small updates are few dispatches, in place or not, with the numbers of kernels on their own", async () => {
  const alone = update(...state());
  await realize(alone, { device, fuse: false });
  const expected = await valuesOf(alone);
  const plain = update(...state());
  await realize(plain, { device });
  expect(await valuesOf(plain)).toEqual(expected);

  const step = compile(update, { device, donate: [0, 1] });
  let [p, m] = state();
  let dispatches = 0;
  for (const counted of [false, true]) {
    const [, , g] = state();
    device.recorder = counted
      ? {
          begin(encoder) {
            const pass = encoder.beginComputePass();
            const dispatch = pass.dispatchWorkgroups.bind(pass);
            pass.dispatchWorkgroups = (...counts: [number]) => {
              dispatches++;
              dispatch(...counts);
            };
            return pass;
          },
        }
      : undefined;
    [p, m] = await step(p, m, g);
    if (!counted) expect(await valuesOf([p, m])).toEqual(expected);
  }
  device.recorder = undefined;
  const lines = (await step.explain(p, m, state()[2])).split("\n");
  expect(lines[0]).toMatch(/together with the next \d+$/);
  expect(lines.length).toBeGreaterThan(35);
  expect(dispatches).toBeLessThan(17);
});

test("a kernel does not run beside one that writes what it reads", async () => {
  const swap = compile((x: Tensor, y: Tensor): [Tensor, Tensor] => [add(y, 1), add(x, 1)], { device, donate: [0, 1] });
  const start: [Tensor, Tensor] = [wave(8, 0), wave(8, 1)];
  const expected = (await valuesOf([start])).map((values) => values.map((x) => Math.fround(x + 1)));
  const swapped = await swap(...(await realize(start, { device })));
  expect(await valuesOf([swapped])).toEqual([expected[1], expected[0]]);
});
