import { ones } from "@seqmix/tensor";
import { expect, test } from "vitest";
import { chunkedFftConv, fftConv, irfft, packedFftConv, rfft } from "./index.js";

test("what means nothing is named", () => {
  const [u, k] = [ones([1, 2, 4]), ones([2, 4])];
  const calls: readonly [() => unknown, string][] = [
    [() => fftConv({ u, k, kernel: k } as never), "got kernel"],
    [() => fftConv({ u: [1], k } as never), "expected a tensor for u"],
    [() => irfft(rfft(u), 4.5), "n, a whole number of at least 1, got 4.5"],
    [() => rfft([1, 2] as never), "expected"],
    [() => packedFftConv({ u, k } as never), "expected a tensor for resets"],
    [() => chunkedFftConv({ u, k }, 0), "length, a whole number of at least 1, got 0"],
  ];
  for (const [call, named] of calls) expect(call).toThrow(named);
});
