// Discrete transforms on the WebGPU device: lengths by products with small matrices, by splitting, and by Bluestein's algorithm.
import { fft, irfft, rfft } from "@seqmix/fft";
import { useSoftwareAdapter } from "@seqmix/software-gpu";
import { add, grad, key, mul, normal, reference, sum, type Tensor } from "@seqmix/tensor";
import { assertClose, evaluate, toleranceOfScale } from "@seqmix/testing";
import { webgpu } from "@seqmix/webgpu";
import { afterAll, expect, test } from "vitest";

useSoftwareAdapter();
const device = await webgpu();
afterAll(() => device.close());

const [ROWS, LENGTHS] = [3, [5, 37, 96]];

/** Transforms of both kinds and the gradient through them. */
function valuesAndGradients(n: number): Tensor[] {
  const [re, im, x] = [1, 2, 3].map((k) => normal(key(k), [ROWS, n])) as [Tensor, Tensor, Tensor];
  const whole = fft({ re, im });
  const half = rfft(x);
  const loss = (given: { re: Tensor; im: Tensor; x: Tensor }): Tensor => {
    const complex = fft({ re: given.re, im: given.im });
    const real = rfft(given.x);
    const back = irfft({ re: mul(real.re, real.re), im: mul(real.im, real.re) }, n);
    return add(sum(mul(complex.re, complex.im)), sum(mul(back, given.x)));
  };
  const gradients = grad(loss)({ re, im, x });
  return [whole.re, whole.im, half.re, half.im, gradients.re, gradients.im, gradients.x].map((y) => mul(y, 1));
}

test.each(LENGTHS)("values and gradients of length %i are those of the reference", async (n) => {
  const expected = await evaluate(reference(), () => valuesAndGradients(n));
  const found = await evaluate(device, () => valuesAndGradients(n));
  expect(found.map(({ shape }) => shape)).toEqual(expected.map(({ shape }) => shape));
  expected.forEach(({ data, shape }, k) =>
    assertClose(`length ${n}, result ${k}`, found[k]!.data, data, toleranceOfScale(data, 2e-5), shape),
  );
});
