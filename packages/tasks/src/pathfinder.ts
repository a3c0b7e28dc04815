import { defineTask, laptopBudget } from "./define-task.js";
import { generatedTask } from "./generated-task.js";
import { pathfinderImage, type PathfinderStyle } from "./pathfinder-image.js";

/** Settings of {@link pathfinder}. */
export type PathfinderConfig = {
  /** Pixels of an image: 1024 (32 by 32), 4096, 16384 (Path-X) or 65536. */
  readonly L: number;
  /** Paddles of each of the two long snakes: 6, 9 and 14 are easy, intermediate and hard. */
  readonly contour: number;
  /** Training images in all; 0: always new ones. */
  readonly trainSequences: number;
  /** Sequences that a split is measured by. */
  readonly evaluationSequences: number;
};

/** Long Range Arena's settings by the side of an image. */
const styles: Readonly<Record<number, PathfinderStyle>> = {
  32: {
    margins: [1],
    padding: 1,
    paddle: 2,
    marker: 1.5,
    thickness: 0.5,
    antialias: 2,
    seedDistance: 7,
    continuity: 1,
    distractors: (20 / 4) | 0,
    snakeContrast: 2,
    paddleContrast: 0.75,
  },
  64: style([1], 2.5, 1, 12, (22 / (14 / 3)) | 0, 0.8),
  128: style([2, 3], 3, 1.5, 20, (35 / (14 / 3)) | 0, 0.9),
  256: style([3], 5, 2, 27, (30 / (14 / 3)) | 0, 1),
};

function style(
  margins: readonly number[],
  marker: number,
  thickness: number,
  seedDistance: number,
  distractors: number,
  snakeContrast: number,
): PathfinderStyle {
  return {
    margins,
    padding: 1,
    paddle: 5,
    marker,
    thickness,
    antialias: 2,
    seedDistance,
    continuity: 1.8,
    distractors,
    snakeContrast,
    paddleContrast: 1,
  };
}

/**
 * Pathfinder: whether two dots in an image are joined by a dashed snake; pixels are read row by row.
 *
 * Source: Linsley et al., Learning Long-Range Spatial Dependencies with Horizontal Gated Recurrent Units, 2018 (its generator
 * `snakes2.py`), with the settings of Long Range Arena (Tay et al., 2020).
 */
export const pathfinder = defineTask<PathfinderConfig>({
  id: "pathfinder",
  family: "classification",
  summary: "whether two dots in an image are joined by a dashed line, read pixel by pixel",
  defaults: { L: 1024, contour: 6, trainSequences: 0, evaluationSequences: 200 },
  limits: { contour: { least: 2 }, trainSequences: { least: 0 } },
  training: { ...laptopBudget, steps: 3000, batch: 16, lr: 3e-3 },
  network: { pooling: "mean" },
  scales: {
    smoke: { contour: 3, steps: 10, warmup: 2, batch: 2, evaluationSequences: 8 },
    paper: {
      contour: 14,
      trainSequences: 160_000,
      evaluationSequences: 20_000,
      dModel: 256,
      nLayers: 6,
      steps: 500_000,
      batch: 64,
      lr: 4e-3,
    },
  },
  make(config) {
    const { L, contour } = config;
    const side = Math.round(Math.sqrt(L));
    const chosen = styles[side];
    if (side * side !== L || !chosen)
      throw new RangeError(`pathfinder: expected L of 1024, 4096, 16384 or 65536, got ${L}; change it`);
    return generatedTask({
      id: "pathfinder",
      config,
      input: { channels: 1 },
      output: { classes: 2 },
      answers: 1,
      length: L,
      metric: "accuracy",
      chance: 1 / 2,
      example(random, { inputs, targets, mask }) {
        const { pixels, joined } = pathfinderImage(random, side, contour, chosen);
        inputs.set(pixels);
        targets[0] = joined ? 1 : 0;
        mask[0] = 1;
      },
    });
  },
  definition:
    "Two snakes of dashes (paddles) wind through an image among shorter ones. A dot marks the beginning of one of them, another dot the end of the same (class 1) or of the other (class 0). Pixels are read row by row, one brightness a step.",
  tests:
    "Dependencies along a path that is local in the image and far apart in the sequence: 1,024 positions, or 16,384 in Path-X, where most models stay at chance.",
  source:
    "Linsley, Kim, Veerabadran, Windolf and Serre, Learning Long-Range Spatial Dependencies with Horizontal Gated Recurrent Units (2018); Tay et al., Long Range Arena (2020): snakes of 14 paddles; 32 by 32 (Pathfinder) and 128 by 128 (Path-X), 200,000 images of which 80 % train. The way of the snakes, their margins, their retries and brightnesses are the source's; lines are smoothed by sampling each pixel several times, where the source draws them larger and shrinks them by Lanczos' filter.",
  published: [
    ["Transformer", "71.4 %", "chance", "S4 paper, Table 4"],
    ["Linear Transformer", "75.3 %", "chance", "S4 paper, Table 4"],
    ["S4", "94.2 %", "96.4 %", "Gu, Goel and Ré, S4 (2022), Table 4"],
    ["DSS", "84.6 %", "87.8 %", "README of the DSS code base"],
    ["S4D-LegS", "93.1 %", "91.9 %", "Orvieto et al., LRU (2023), Table 3"],
    ["LRU", "95.1 %", "94.2 %", "Orvieto et al., LRU (2023), Table 3"],
    ["S5", "95.3 %", "98.6 %", "Smith et al., S5 (2023)"],
  ].map(([model, value, pathX, source]) => ({ model: model!, value: `${value}; Path-X ${pathX}`, source: source! })),
  image: true,
});
