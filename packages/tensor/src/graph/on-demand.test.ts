import { expect, test } from "vitest";
import { cpu, defineKernel, explain, mul, realize, reference, tensor, variantOnDemand, type Tensor } from "../index.js";
import { zeroProgram } from "../devices/cpu/native/zero.js";
import { onDemand, whenLoaded } from "./on-demand.js";

test("what needs modules that are not there is begun again once they are, and later runs at once", async () => {
  const [a, b] = [onDemand(() => Promise.resolve(2)), onDemand(() => Promise.resolve(3))];
  let runs = 0;
  const make = (): number => {
    runs++;
    return a() * b();
  };
  expect(make).toThrow("whenLoaded");
  const first = whenLoaded(make);
  expect(first).toBeInstanceOf(Promise);
  expect(await first).toBe(6);
  expect(runs).toBe(4);
  expect(whenLoaded(make)).toBe(6);
});

test("errors of its own, and of a module that cannot be had, are passed on", async () => {
  expect(() =>
    whenLoaded(() => {
      throw new RangeError("no");
    }),
  ).toThrow(RangeError);
  const missing = onDemand(() => Promise.reject(new Error("offline")));
  await expect(whenLoaded(missing)).rejects.toThrow("offline");
});

test("a variant is loaded where a graph on its device has the record", async () => {
  let loaded = 0;
  const doubled = defineKernel({
    name: "doubled",
    inputs: { x: "N" },
    outputs: { y: "N" },
    reference: ({ x }: { readonly x: Tensor }) => ({ y: mul(x, 2) }),
    cost: ({ N }) => ({ flops: N!, bytes: 8 * N! }),
    variants: [
      variantOnDemand<undefined>({ device: "cpu", name: "zeros" }, () => {
        loaded++;
        return Promise.resolve({
          device: "cpu",
          name: "zeros",
          supports: ({ dims }) => dims.N === 4 || "expected four",
          forward: ({ dims }, memory) => zeroProgram("zeros", dims.N!, 1, memory),
        });
      }),
    ],
    samples: [],
  });
  const build = (values: readonly number[]): Tensor => doubled({ x: tensor(values) }, undefined).y;
  expect([...(await (await realize(build([1, 2, 3, 4]), { device: reference() })).data())]).toEqual([2, 4, 6, 8]);
  expect(loaded).toBe(0);
  expect([...(await (await realize(build([1, 2, 3, 4]), { device: cpu() })).data())]).toEqual([0, 0, 0, 0]);
  expect([...(await (await realize(build([1, 2, 3]), { device: cpu() })).data())]).toEqual([2, 4, 6]);
  expect(await explain(build([1, 2, 3]))).toContain("zeros: expected four");
  expect(loaded).toBe(1);
});
