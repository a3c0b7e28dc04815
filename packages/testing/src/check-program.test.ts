import { declare, declareParameters, entryPoint, type GpuPass, type GpuProgram } from "@seqmix/tensor/wgsl";
import { expect, test } from "vitest";
import { checkProgram } from "./check-program.js";

/** y = 2 x by way of scratch: buffers x, y, scratch. */
const parameters = { size: 100 };
const pass = (from: number, to: number, changes: Partial<GpuPass> = {}): GpuPass => ({
  code: `${declare(0, "x", "read", "f32")}${declare(1, "y", "read_write", "f32")}${declareParameters(2, parameters)}var<workgroup> s: array<array<vec2f, 17>, 16>;
${entryPoint(64, "y[group * 64u + thread] = 2.0 * x[group * 64u + thread];")}`,
  buffers: [
    { buffer: from, access: "read" },
    { buffer: to, access: "read_write" },
  ],
  parameters,
  groups: 2,
  ...changes,
});
const program = (...passes: GpuPass[]): GpuProgram => ({ name: "double", passes, scratch: [512] });
const check = (...passes: GpuPass[]): void =>
  checkProgram("law", program(...passes), { inputs: [100], outputs: [100] });
const [first, second] = [pass(0, 2), pass(2, 1)];
const bound = (...buffers: GpuPass["buffers"]): Partial<GpuPass> => ({ buffers });
const text = (from: string, to: string): Partial<GpuPass> => ({ code: first.code.replace(from, to) });

test("a program that keeps to what it declares passes", () => {
  expect(() => check(first, second)).not.toThrow();
});

test.each<[string, readonly GpuPass[], string]>([
  ["reads scratch that is not written yet", [second, first], "buffer 2 is read before anything is written to it"],
  ["leaves an output unwritten", [first], "output 0 is never written"],
  ["writes an input", [pass(2, 0)], "input 0 is bound to be written"],
  ["binds a buffer that is not there", [pass(0, 3)], "buffer 3 is bound, of 3"],
  ["writes a buffer that it reads", [pass(2, 2)], "buffer 2 is bound twice and written"],
  [
    "binds beyond a buffer's end",
    [pass(0, 2, bound(first.buffers[0]!, { buffer: 2, access: "read_write", window: { from: 256, bytes: 512 } }))],
    "bytes 256 to 768 of buffer 2 are bound, of 512",
  ],
  [
    "has a window off the grid",
    [pass(0, 2, bound(first.buffers[0]!, { buffer: 2, access: "read_write", window: { from: 4, bytes: 16 } }))],
    "bytes 4 to 20",
  ],
  ["declares another access", [pass(0, 2, text("storage, read>", "storage, read_write>"))], "the text declares"],
  ["has too many threads", [pass(0, 2, text("size(64)", "size(512)"))], "a workgroup has 512 invocations, of 256"],
  [
    "has too much workgroup memory",
    [pass(0, 2, text("vec2f, 17>, 16>", "vec2f, 129>, 16>"))],
    "a workgroup has 16512 bytes, of 16384",
  ],
])("a program that %s is found", (_, passes, message) => {
  expect(() => check(...passes)).toThrow(message);
});
