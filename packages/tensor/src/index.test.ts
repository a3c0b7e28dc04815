import { expect, test } from "vitest";
import * as face from "./index.js";

test("the package shows functions and classes, and of the op table only the table", () => {
  const values = Object.entries(face).filter(([, value]) => typeof value !== "function");
  expect(values.map(([name]) => name).sort()).toEqual(["BYTES_PER_ELEMENT", "opTable"]);
});
