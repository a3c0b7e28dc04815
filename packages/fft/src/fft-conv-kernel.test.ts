import { checkKernel } from "@seqmix/testing";
import { cpu, explain, tensor } from "@seqmix/tensor";
import { expect, test } from "vitest";
import { fftConv, fftConvKernel, fftCorrelationKernel, fftPieceKernel } from "./index.js";

test("the convolution keeps the laws of its record on the default device", async () => {
  const report = await checkKernel(fftConvKernel, cpu(), { relative: 1e-5, gradientRelative: 1e-5, lengths: [1, 65] });
  expect(report.cases).toBeGreaterThanOrEqual(fftConvKernel.record.samples.length);
});

test("the correlation keeps the laws of its record on the default device", async () => {
  const report = await checkKernel(fftCorrelationKernel, cpu(), {
    relative: 1e-5,
    gradientRelative: 1e-5,
    lengths: [1, 65],
  });
  expect(report.cases).toBeGreaterThanOrEqual(fftCorrelationKernel.record.samples.length);
});

test("the convolution of a piece keeps the laws of its record on the default device", async () => {
  const options = {
    relative: 1e-5,
    gradientRelative: 1e-5,
    lengths: [1, 65],
    variant: "four channels, modulo x^n - i",
  };
  expect((await checkKernel(fftPieceKernel, cpu(), options)).cases).toBeGreaterThanOrEqual(4);
});

test("explain names the variant that runs", async () => {
  const ones = (...shape: number[]) => tensor(new Float32Array(shape.reduce((a, b) => a * b)).fill(1), shape);
  expect(await explain(fftConv({ u: ones(2, 3, 8), k: ones(3, 8) }))).toContain(
    "fftConv (four channels, modulo x^n - i)",
  );
});
