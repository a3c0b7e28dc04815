import { expect, test } from "vitest";
import { assertOptions } from "./options.js";

test.each([
  [{ power: "low-power" }, "got power"],
  [{ powerPreference: "fast" }, "powerPreference"],
  [{ dawn: "x" }, "a list of texts dawn"],
  [{ halfPrecision: "yes" }, "halfPrecision true or false"],
  [{ products: "f64" }, 'products "f32" or "tf32"'],
  [{ limits: { maxBuffer: 1 } }, "got maxBuffer"],
  [{ limits: { memory: NaN } }, "limits.memory"],
  ["low-power", "expected an object"],
])("what means nothing is named: %o", (options, named) => {
  expect(() => assertOptions(options as never)).toThrow(named);
  expect(() => assertOptions({ products: "tf32", limits: { memory: 1e9, maxBufferSize: Infinity } })).not.toThrow();
});
