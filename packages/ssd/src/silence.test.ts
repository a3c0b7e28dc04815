import { neg, ones } from "@seqmix/tensor";
import { expect, test } from "vitest";
import { passStates, segsum, ssd, ssdStep, structuredMaskedAttention } from "./index.js";

test("what means nothing is named", () => {
  const x = ones([1, 4, 1, 2]);
  const given = { x, dt: ones([1, 4, 1]), A: neg(ones([1])), B: x, C: x };
  const calls: readonly [() => unknown, string][] = [
    [() => ssd(given, { dt_softplus: true } as never), "got dt_softplus"],
    [() => ssd(given, { dtSoftplus: "yes" as never }), "dtSoftplus true or false"],
    [() => ssd(given, { dtLimit: [1, 0] }), "low <= high"],
    [() => ssd({ ...given, dt_bias: ones([1]) } as never), "got dt_bias"],
    [() => ssdStep({} as never), "expected a tensor for x"],
    [() => structuredMaskedAttention({ q: x, k: x, v: x }, { algorithm: "foo" as never }), "algorithm"],
    [() => structuredMaskedAttention({ q: x, k: x, v: x }, { chunk: 4 } as never), "got chunk"],
    [() => structuredMaskedAttention({ q: x, k: x, v: x }, { chunkSize: 0.5 }), "chunkSize"],
    [() => structuredMaskedAttention({ q: x, k: x } as never), "expected a tensor for v"],
    [() => passStates({ states: x, keep: x } as never), "got keep"],
    [() => segsum([1] as never), "expected a tensor"],
  ];
  for (const [call, named] of calls) expect(call).toThrow(named);
});
