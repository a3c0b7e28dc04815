import { key } from "@seqmix/tensor";
import { expect, test } from "vitest";
import { hostRandom } from "./host-random.js";
import { pathfinder } from "./pathfinder.js";
import { pathfinderImage } from "./pathfinder-image.js";
import { Grid, paddleCovers } from "./pathfinder-grid.js";
import { draw } from "./testing/examples.js";

/** Long Range Arena's settings for 32 by 32 pixels, without short snakes. */
const bare = {
  margins: [1],
  padding: 1,
  paddle: 2,
  marker: 1.5,
  thickness: 0.5,
  antialias: 2,
  seedDistance: 7,
  continuity: 1,
  distractors: 0,
  snakeContrast: 2,
  paddleContrast: 0.75,
};

test("the dots are the ends of one snake or of two, and snakes are drawn where they go", () => {
  let apart = 0;
  for (let seed = 0; seed < 60; seed++) {
    const { pixels, joined, paths, dots } = pathfinderImage(hostRandom(key(seed)), 32, 5, bare);
    const at = ([y, x]: readonly [number, number]): number => pixels[y * 32 + x]!;
    const snakeOf = (dot: readonly [number, number]): number[] =>
      [0, 1].filter((k) => [paths[k]![0]!, paths[k]!.at(-1)!].some(([y, x]) => y === dot[0] && x === dot[1]));
    const [first, second] = dots.map(snakeOf);
    // Two snakes may end on one pixel: then nothing can be told.
    if (first!.length === 1 && second!.length === 1) expect(first![0] === second![0]).toBe(joined);
    for (const dot of dots) expect(at(dot)).toBeGreaterThan(0.6);
    for (const path of paths) {
      expect(path).toHaveLength(5);
      path.forEach((point) => expect(at(point)).toBeGreaterThan(0));
      // A paddle of 2 and two margins further, up to whole pixels; the first ends where it began.
      for (let k = 2; k < 5; k++) {
        const distance = Math.hypot(path[k]![0] - path[k - 1]![0], path[k]![1] - path[k - 1]![1]);
        expect(distance).toBeGreaterThan(1.4);
        expect(distance).toBeLessThan(6.5);
      }
    }
    const beginnings = Math.hypot(paths[0][0]![0] - paths[1][0]![0], paths[0][0]![1] - paths[1][0]![1]);
    expect(Math.abs(beginnings - 7)).toBeLessThan(1);
    apart += Number(!joined);
  }
  expect(Math.abs(apart - 30)).toBeLessThan(15);
});

test("both classes are as frequent, brightness reaches 1, and the border stays empty", async () => {
  const examples = await draw(pathfinder({ contour: 6 }), 60);
  const joined = examples.filter(({ targets }) => targets[0] === 1).length;
  // Standard deviation: 3.9.
  expect(Math.abs(joined - 30)).toBeLessThan(15);
  for (const { inputs } of examples) {
    expect(Math.max(...inputs)).toBe(1);
    expect(Math.min(...inputs)).toBe(0);
    // Six paddles of three pixels, twice, and two dots at least.
    expect(inputs.filter((value) => value > 0).length).toBeGreaterThan(40);
  }
});

test("a paddle covers a line of its length and width, and room around it", () => {
  const covers = paddleCovers([0, 1], 4, 1, 1, 4);
  const lit = (what: "line" | "room"): number => covers.reduce((sum, cover) => sum + cover[what], 0);
  // Width 1 and half a pixel for the samples, length 4, and the round ends.
  expect(Math.abs(lit("line") - (4 * 1.5 + Math.PI * 0.75 ** 2))).toBeLessThan(0.4);
  expect(Math.abs(lit("room") - (4 * 3.5 + Math.PI * 1.75 ** 2))).toBeLessThan(0.6);
  const grid = new Grid(8);
  grid.cover({ tail: [4, 2], covers }, "line", 0.5);
  expect(grid.at([4, 4])).toBe(0.5);
  expect(grid.at([2, 4])).toBe(0);
  expect(grid.overlap({ tail: [4, 2], covers })).toBe(1.5);
  expect(grid.overlap({ tail: [0, 0], covers })).toBeLessThan(1.2);
});

test("sizes without published settings are refused", () => {
  expect(() => pathfinder({ L: 900 })).toThrow("1024, 4096, 16384 or 65536, got 900");
});
