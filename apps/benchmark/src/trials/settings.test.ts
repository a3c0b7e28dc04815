import { expect, test } from "vitest";
import { hasValuesOf, type Settings } from "./settings.js";

test("a row made before a setting came counts; one made with another default, or a setting that is gone, does not", () => {
  const today = { lr: 1e-3, disc: "zoh", bandlimit: 0, dtMax: Infinity };
  const read = (row: Settings): Settings => JSON.parse(JSON.stringify(row)) as Settings;
  expect(hasValuesOf(read({ disc: "zoh", lr: 1e-3, dtMax: Infinity }), today)).toBe(true);
  expect(hasValuesOf(read({ disc: "bilinear", lr: 1e-3 }), today)).toBe(false);
  expect(hasValuesOf(read({ disc: "zoh", lr: 1e-3, window: 0 }), today)).toBe(false);
});
