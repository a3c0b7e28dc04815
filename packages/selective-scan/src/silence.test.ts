import { neg, ones } from "@seqmix/tensor";
import { expect, test } from "vitest";
import { selectiveScan, selectiveScanStep } from "./index.js";

test("what means nothing is named", () => {
  const u = ones([1, 4, 2]);
  const given = { u, delta: u, A: neg(ones([2, 3])), B: ones([1, 4, 3]), C: ones([1, 4, 3]) };
  const calls: readonly [() => unknown, string][] = [
    [() => selectiveScan(given, { delta_softplus: true } as never), "got delta_softplus"],
    [() => selectiveScan(given, { deltaSoftplus: "yes" as never }), "deltaSoftplus true or false"],
    [() => selectiveScan(given, true as never), "expected an object"],
    [() => selectiveScan({ ...given, delta_bias: ones([2]) } as never), "got delta_bias"],
    [() => selectiveScan({ ...given, u: [1] } as never), "a tensor for u"],
    [() => selectiveScanStep({ u } as never), "a tensor for delta"],
  ];
  for (const [call, named] of calls) expect(call).toThrow(named);
});
