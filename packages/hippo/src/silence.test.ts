import { key, ones } from "@seqmix/tensor";
import { expect, test } from "vitest";
import {
  hippo,
  hippoBasis,
  hippoDiagonal,
  hippoRecurrence,
  lruRing,
  project,
  reconstruct,
  s4dEigenvalues,
  scaledLegsRecurrence,
} from "./index.js";

test("what means nothing is named", () => {
  const signal = ones([8]);
  const calls: readonly [() => unknown, string][] = [
    [() => hippo("legt", 4, { windows: 1 } as never), "got windows"],
    [() => hippo("legs", 4, { window: 1 }), "leave it out"],
    [() => hippo("legt", 4, { window: Infinity }), "expected window, a number above 0"],
    [() => hippo("random", 4, { key: 3 as never }), "a key"],
    [() => hippoBasis("legt", 4, -1), "an age"],
    [() => hippoRecurrence("legs", 4, NaN, "zoh"), "a step dt, a number above 0, got NaN"],
    [() => scaledLegsRecurrence(4, 0, "zoh"), "a step t"],
    [() => hippoDiagonal("legs", 4, { clipB: -1 }), "clipB"],
    [() => s4dEigenvalues("lin", 4, { realScale: NaN }), "realScale"],
    [() => s4dEigenvalues("lin", 4, { realRandom: "yes" as never }), "realRandom true or false"],
    [() => lruRing({ rMin: 0.5, rMax: 0.9, maxPhase: NaN }, 4, key(1)), "maxPhase"],
    [() => lruRing({ rMin: 0.5, rMax: 0.9, maxPhase: 6 }, 0, key(1)), "N, a whole number"],
    [() => project(signal, "legs", { order: 4, dt: 0 }), "dt"],
    [() => project(signal, "legs", { order: 4, dt: 1, rul: "zoh" } as never), "got rul"],
    [() => reconstruct(ones([4]), "legs", { dt: 1, at: [NaN] }), "a place at"],
  ];
  for (const [call, named] of calls) expect(call).toThrow(named);
});
