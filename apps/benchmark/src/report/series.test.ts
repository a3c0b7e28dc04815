import * as fc from "fast-check";
import { parseHTML } from "linkedom";
import { expect, test } from "vitest";
import type { ScalingRow } from "../sweeps/scaling.js";
import { scalingPage } from "./scaling-page.js";
import { apart } from "./series.js";

const parse = (html: string): Document => parseHTML(html).document as unknown as Document;

const rowsOf = (names: readonly string[]): ScalingRow[] =>
  names.flatMap((mixer, k) =>
    [256, 512].map((L) => ({
      mixer,
      work: "prefill" as const,
      L,
      batch: 1,
      dModel: 64,
      seconds: (k + 1) * L,
      runs: 3,
      peakBytes: L,
    })),
  );

test("each of 32 series has a line, a point and a name of its own", () => {
  const names = Array.from({ length: 32 }, (_, k) => `m${k}`);
  const page = parse(scalingPage(rowsOf(names), "somewhere"));
  const [time] = page.querySelectorAll("figure svg");
  const looks = [...time!.querySelectorAll('g[aria-label="line"]')].map((line) =>
    [line.getAttribute("stroke"), line.getAttribute("stroke-dasharray")].join(),
  );
  expect(looks).toHaveLength(32);
  expect(new Set(looks).size).toBe(32);
  const points = [...time!.querySelectorAll('g[aria-label="dot"]')].map((dots) =>
    [dots.getAttribute("fill"), dots.querySelector("path")?.getAttribute("d") ?? "circle"].join(),
  );
  expect(new Set(points).size).toBe(32);
  const labels = [...time!.querySelectorAll('[aria-label="names"] text')];
  expect(labels.map((label) => label.textContent).toSorted()).toEqual(names.toSorted());
  const heights = labels.map((label) => Number(label.getAttribute("y")));
  for (const [k, y] of heights.slice(1).entries()) expect(y - heights[k]!).toBeGreaterThanOrEqual(13.9);
  // The legend shows the same dashes.
  const keys = [...page.querySelectorAll(".legend")[0]!.querySelectorAll("li path[stroke]")];
  expect(
    new Set(keys.map((key) => [key.getAttribute("stroke"), key.getAttribute("stroke-dasharray")].join())).size,
  ).toBe(24);
});

test("eight series and fewer have plain lines and no names at their ends", () => {
  const page = parse(scalingPage(rowsOf(["a", "b", "c"]), "somewhere"));
  expect(page.querySelectorAll('[aria-label="names"]')).toHaveLength(0);
  expect(page.querySelectorAll(".figures.wide")).toHaveLength(0);
});

test("names are apart, in order and in their range if they fit", () => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0, max: 500, noNaN: true }), { maxLength: 30 }), (some) => {
      const wanted = some.toSorted((a, b) => a - b);
      const places = apart(wanted, 14, 32, 480);
      for (const [k, place] of places.entries()) {
        expect(place).toBeGreaterThanOrEqual(32 - 1e-9);
        expect(place).toBeLessThanOrEqual(480 + 1e-9);
        if (k > 0) expect(place - places[k - 1]!).toBeGreaterThanOrEqual(14 - 1e-9);
      }
      const free = wanted.every((place, k) => place >= 32 && place <= 480 && (k === 0 || place - wanted[k - 1]! >= 14));
      if (free) expect(places).toEqual(wanted);
    }),
  );
});
