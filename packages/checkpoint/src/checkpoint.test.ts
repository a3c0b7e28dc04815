import { CheckpointError, leavesOf, mul, reference, realize, tensor, type Tensor, type Tree } from "@seqmix/tensor";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { loadSafetensors, readSafetensors, saveSafetensors } from "./index.js";

/** A file of a header and values, as they come: nothing is checked or aligned here. */
function fileOf(header: string | Uint8Array, values: ArrayLike<number> = [], length?: bigint): Uint8Array {
  const text = typeof header === "string" ? new TextEncoder().encode(header) : header;
  const file = new Uint8Array(8 + text.length + values.length);
  new DataView(file.buffer).setBigUint64(0, length ?? BigInt(text.length), true);
  file.set(text, 8);
  file.set(values, 8 + text.length);
  return file;
}

/** One tensor "x" of a type. */
const single = (dtype: string, shape: readonly number[], bytes: ArrayBufferView): Uint8Array => {
  const view = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return fileOf(JSON.stringify({ x: { dtype, shape, data_offsets: [0, view.length] } }), view);
};

const valuesOf = async (tree: Tree): Promise<number[][]> =>
  Promise.all(leavesOf(tree).map(async (x) => [...(await x.data())]));

describe("files of other writers", () => {
  const fixtures = join(import.meta.dirname, "../../../apps/golden/fixtures");
  const files = readdirSync(fixtures, { recursive: true, encoding: "utf8" }).filter((path) =>
    /(mamba_lm|mamba2_lm|delta_rule|gla)\/.*\.safetensors$/.test(path),
  );

  test("checkpoints of Hugging Face's transformers are read, and written again byte for byte", async () => {
    const checkpoints = files.filter((path) => path.endsWith("model.safetensors"));
    expect(checkpoints.length).toBe(3);
    for (const path of checkpoints) {
      const bytes = readFileSync(join(fixtures, path));
      const { metadata, tensors } = readSafetensors(bytes);
      expect(metadata).toEqual({ format: "pt" });
      const tree = loadSafetensors(bytes);
      const backbone = tree["backbone"] as { layers: { mixer: { A_log: Tensor } }[]; embeddings: { weight: Tensor } };
      expect(Array.isArray(backbone.layers)).toBe(true);
      const { A_log } = backbone.layers[1]!.mixer;
      const stored = tensors.get("backbone.layers.1.mixer.A_log")!;
      expect(A_log.shape).toEqual(stored.shape);
      expect([...(await A_log.data())]).toEqual([...new Float32Array(stored.bytes.slice().buffer)]);
      expect(Buffer.from(await saveSafetensors(tree, { metadata })).equals(bytes)).toBe(true);
    }
  });

  test("fixtures written by the Python package keep their numbers, float64 on the reference device too", async () => {
    let doubles = 0;
    for (const path of files) {
      const bytes = readFileSync(join(fixtures, path));
      for (const [name, { dtype, shape, bytes: raw }] of readSafetensors(bytes).tensors) {
        if (dtype !== "F64") continue;
        doubles++;
        const alone = fileOf(JSON.stringify({ [name]: { dtype, shape, data_offsets: [0, raw.length] } }), raw);
        const x = leavesOf(loadSafetensors(alone))[0]!;
        const twice = await realize(mul(x, 2), { device: reference() });
        const expected = new Float64Array(raw.slice().buffer);
        expect([...(await twice.data())]).toEqual([...expected].map((value) => 2 * value));
      }
    }
    expect(doubles).toBeGreaterThan(5);
  });
});

test("a tree comes back as it was saved: types, shapes, lists, values of every kind", async () => {
  const tree = {
    layers: [{ "in_proj.weight": tensor([[1, -0, Infinity]]) }, { bias: tensor([NaN, 1e-45]) }],
    half: tensor([1.5, -65504, 6e-8], [3], "f16"),
    steps: tensor([-(2 ** 31), 2 ** 31 - 1], [2], "i32"),
    mask: tensor([1, 0, 1], [3], "bool"),
    scalar: tensor(7),
    none: tensor(new Float32Array(), [0, 3]),
    lazy: mul(tensor([3]), 2),
    ключ: tensor([5]),
  };
  const bytes = await saveSafetensors(tree, { metadata: { note: "é\n" } });
  const names = [...readSafetensors(bytes).tensors].map(([name, { dtype }]) => `${name} ${dtype}`);
  expect(names).toEqual([
    "layers.0.in_proj.weight F32",
    "layers.1.bias F32",
    "lazy F32",
    "none F32",
    "scalar F32",
    "steps I32",
    "ключ F32",
    "half F16",
    "mask BOOL",
  ]);
  expect(readSafetensors(bytes).metadata).toEqual({ note: "é\n" });
  // Every value lies where its type is aligned.
  for (const { bytes: raw, dtype } of readSafetensors(bytes).tensors.values())
    expect(raw.byteOffset % (dtype === "F32" || dtype === "I32" ? 4 : dtype === "F16" ? 2 : 1)).toBe(0);

  const same = loadSafetensors(bytes, { like: tree });
  expect(Object.keys(same)).toEqual(Object.keys(tree));
  expect(leavesOf(same).map(String)).toEqual(leavesOf(tree).map(String));
  expect(await valuesOf(same)).toEqual(await valuesOf(tree));
  const free = loadSafetensors(bytes);
  expect((free["layers"] as Tree[]).length).toBe(2);
  // Dots of keys become levels: the names are the same.
  expect(await saveSafetensors(free, { metadata: { note: "é\n" } })).toEqual(bytes);
  expect(String(free["half"])).toBe("Tensor f16 [3]");
});

test.each([
  ["BF16", new Uint16Array([0x3f80, 0xc2f7, 0x7f80, 0x0001]), [1, -123.5, Infinity, 2 ** -133], "f32"],
  ["F16", new Uint16Array([0x3c00, 0x0001, 0xfc00, 0x7bff]), [1, 2 ** -24, -Infinity, 65504], "f16"],
  ["F64", new Float64Array([0.1, 1e300, -0, 2]), [Math.fround(0.1), Infinity, -0, 2], "f32"],
  ["I8", new Int8Array([-128, 127, 0, -1]), [-128, 127, 0, -1], "i32"],
  ["U8", new Uint8Array([255, 0, 1, 2]), [255, 0, 1, 2], "i32"],
  ["I16", new Int16Array([-32768, 32767, 0, -1]), [-32768, 32767, 0, -1], "i32"],
  ["U16", new Uint16Array([65535, 0, 1, 2]), [65535, 0, 1, 2], "i32"],
  ["U32", new Uint32Array([2 ** 31 - 1, 0, 1, 2]), [2 ** 31 - 1, 0, 1, 2], "i32"],
  ["I64", new BigInt64Array([-(2n ** 31n), 2n ** 31n - 1n, 0n, -1n]), [-(2 ** 31), 2 ** 31 - 1, 0, -1], "i32"],
  ["U64", new BigUint64Array([7n, 0n, 1n, 2n]), [7, 0, 1, 2], "i32"],
  ["BOOL", new Uint8Array([1, 0, 0, 1]), [1, 0, 0, 1], "bool"],
] as const)("%s is read at any alignment", async (dtype, stored, expected, type) => {
  for (const shift of [0, 1, 2, 3]) {
    const file = single(dtype, [2, 2], stored);
    const moved = new Uint8Array(file.length + 8).subarray(shift, shift + file.length);
    moved.set(file);
    const x = loadSafetensors(moved)["x"] as Tensor;
    expect([String(x), [...(await x.data())]]).toEqual([`Tensor ${type} [2,2]`, expected]);
  }
});

test.each([
  ["U32", new Uint32Array([2 ** 31]), /integers of 32 bits in "x", got 2147483648 \(U32\)/],
  ["I64", new BigInt64Array([-(2n ** 31n) - 1n]), /got -2147483649 \(I64\)/],
  ["U64", new BigUint64Array([2n ** 64n - 1n]), /got 18446744073709551615 \(U64\)/],
  ["BOOL", new Uint8Array([2]), /0 or 1 in "x" \(BOOL\), got 2/],
  ["F8_E4M3", new Uint8Array([2]), /one of F32, .* for "x", got F8_E4M3/],
  ["C64", new Float32Array([1, 2]), /got C64/],
] as const)("%s that no element type holds is refused", (dtype, stored, message) => {
  expect(() => loadSafetensors(single(dtype, [1], stored))).toThrow(message);
  expect(readSafetensors(single(dtype, [1], stored)).tensors.get("x")!.bytes.length).toBe(stored.byteLength);
});

const f32 = (offsets: string, shape = "[1]"): string => `{"dtype":"F32","shape":${shape},"data_offsets":${offsets}}`;
const deep = "[".repeat(100_000) + "]".repeat(100_000);

test.each<readonly [string, Uint8Array, RegExp]>([
  ["nothing", new Uint8Array(), /8 bytes of header length, got a file of 0 bytes/],
  ["seven bytes", new Uint8Array(7), /got a file of 7 bytes/],
  ["an empty header", fileOf(""), /begins with "\{", got nothing/],
  ["a header longer than the file", fileOf("{}", [], 3n), /header within 10 bytes, got a header length of 3/],
  ["a header of 2^64 - 1 bytes", fileOf("{}", [], 2n ** 64n - 1n), /at most 100000000 bytes, got a length of 1844/],
  ["a header over the bound", fileOf("{}", [], 100_000_001n), /at most 100000000 bytes, got a length of 100000001/],
  ["a byte order mark", fileOf("\uFEFF{}"), /begins with "\{", got byte 239/],
  ["a space before the header", fileOf(" {}"), /begins with "\{", got byte 32/],
  ["a list", fileOf("[]"), /begins with "\{", got byte 91/],
  ["no UTF-8", fileOf(new Uint8Array([0x7b, 0xff, 0x7d])), /UTF-8/],
  ["no JSON", fileOf("{"), /header of JSON/],
  ["two values of JSON", fileOf("{}{}"), /header of JSON/],
  ["JSON with zeros behind it", fileOf("{}\0\0"), /header of JSON/],
  ["a name twice", fileOf(`{"x":${f32("[0,4]")},"x":${f32("[0,4]")}}`, [0, 0, 0, 0]), /every name once, got "x" twice/],
  ["a name twice, escaped", fileOf(`{"x":${f32("[0,4]")},"\\u0078":${f32("[0,4]")}}`), /got "x" twice/],
  ["a field twice", fileOf(`{"x":{"dtype":"F32","dtype":"F32","shape":[],"data_offsets":[0,4]}}`), /got "dtype" twice/],
  ["metadata that is no text", fileOf(`{"__metadata__":{"a":1}}`), /texts by name in __metadata__, got an object/],
  ["an entry that is a list", fileOf(`{"x":[]}`), /dtype, shape and data_offsets for "x", got \[\]/],
  ["an entry that is deep", fileOf(`{"x":${deep}}`), /dtype, shape and data_offsets for "x"|header of JSON/],
  ["no dtype", fileOf(`{"x":{"shape":[],"data_offsets":[0,4]}}`), /one of BOOL, .* for "x", got undefined/],
  ["another dtype", fileOf(`{"x":{"dtype":"f32","shape":[],"data_offsets":[0,4]}}`), /got "f32"/],
  ["a dtype of Object", fileOf(`{"x":{"dtype":"toString","shape":[],"data_offsets":[0,4]}}`), /got "toString"/],
  ["a negative extent", fileOf(`{"x":${f32("[0,4]", "[-1]")}}`, [0, 0, 0, 0]), /extents for "x", got \[-1\]/],
  ["a fraction", fileOf(`{"x":${f32("[0,4]", "[0.5]")}}`, [0, 0, 0, 0]), /extents for "x", got \[0.5\]/],
  ["an extent that is text", fileOf(`{"x":${f32("[0,4]", '["1"]')}}`, [0, 0, 0, 0]), /extents for "x", got an array/],
  ["an extent of 1e400", fileOf(`{"x":${f32("[0,4]", "[1e400]")}}`), /extents for "x", got \[Infinity\]/],
  ["sizes that overflow", fileOf(`{"x":${f32("[0,0]", "[4294967296,4294967296,0]")}}`), /below 2\^53 bytes/],
  ["offsets in the wrong order", fileOf(`{"x":${f32("[4,0]")}}`, [0, 0, 0, 0]), /in order for "x", got \[4,0\]/],
  ["three offsets", fileOf(`{"x":${f32("[0,4,8]")}}`, [0, 0, 0, 0]), /two data_offsets .* got \[0,4,8\]/],
  ["a negative offset", fileOf(`{"x":${f32("[-4,0]")}}`, [0, 0, 0, 0]), /two data_offsets/],
  [
    "too few bytes for the shape",
    fileOf(`{"x":${f32("[0,4]", "[2]")}}`, [0, 0, 0, 0]),
    /8 bytes for "x" F32 \[2\], got 4/,
  ],
  ["a file cut short", fileOf(`{"x":${f32("[0,4]")}}`, [0, 0, 0]), /expected 4 bytes of values, got 3/],
  ["bytes behind the last", fileOf(`{"x":${f32("[0,4]")}}`, [0, 0, 0, 0, 0]), /expected 4 bytes of values, got 5/],
  ["bytes before the first", fileOf(`{"x":${f32("[4,8]")}}`, Array(8).fill(0)), /"x" at offset 0.*got offset 4/],
  [
    "a gap",
    fileOf(`{"x":${f32("[0,4]")},"y":${f32("[8,12]")}}`, Array(12).fill(0)),
    /"y" at offset 4, behind those before, got offset 8/,
  ],
  [
    "tensors that share bytes",
    fileOf(`{"x":${f32("[0,4]")},"y":${f32("[0,4]")}}`, [0, 0, 0, 0]),
    /"y" at offset 4, behind those before, got offset 0/,
  ],
  [
    "tensors that overlap",
    fileOf(`{"x":${f32("[0,8]", "[2]")},"y":${f32("[4,8]")}}`, Array(8).fill(0)),
    /"y" at offset 8, behind those before, got offset 4/,
  ],
])("a file with %s is refused in one sentence", (_, file, message) => {
  expect(() => loadSafetensors(file)).toThrow(CheckpointError);
  expect(() => loadSafetensors(file)).toThrow(message);
});

test("spaces behind the header, tensors in any order and empty files are fine", async () => {
  const file = fileOf(
    `{"b":${f32("[4,8]")}, "a": ${f32("[0,4]")} }   `,
    new Uint8Array(new Float32Array([1, 2]).buffer),
  );
  expect(await valuesOf(loadSafetensors(file.buffer as ArrayBuffer))).toEqual([[2], [1]]);
  expect(loadSafetensors(fileOf("{}"))).toEqual({});
  expect(loadSafetensors(await saveSafetensors([]))).toEqual({});
});

test.each([["model.safetensors"], [null], [12], [[1, 2]], [Promise.resolve(new Uint8Array(8))]])(
  "what is not the bytes of a file is named: %s",
  (file) => {
    expect(() => loadSafetensors(file as never)).toThrow(
      /^safetensors: expected the bytes of a file, got (String|Null|Number|Array|Promise); read it first/,
    );
  },
);

test("a bit that flips anywhere in a header is an error or another tree, never a crash", async () => {
  const whole = await saveSafetensors({ a: [tensor([1]), tensor([2, 3], [2], "i32")] }, { metadata: { k: "v" } });
  const { length } = new TextDecoder().decode(whole).replace(/}\s*[^}]*$/, "}");
  for (let at = 0; at < length; at++)
    for (let bit = 0; bit < 8; bit++) {
      const bytes = whole.slice();
      bytes[at]! ^= 1 << bit;
      try {
        loadSafetensors(bytes);
      } catch (error) {
        expect(error, `byte ${at}, bit ${bit}`).toBeInstanceOf(CheckpointError);
      }
    }
});

describe("names", () => {
  const named = (...names: string[]): Uint8Array =>
    fileOf(`{${names.map((name, k) => `${JSON.stringify(name)}:${f32(`[${4 * k},${4 * k + 4}]`)}`).join(",")}}`, [
      ...new Uint8Array(4 * names.length),
    ]);

  test("that make no tree, or would reach what all objects share, are refused", () => {
    expect(() => loadSafetensors(named("a", "a.b"))).toThrow(/names that make a tree/);
    expect(() => loadSafetensors(named("a.b", "a"))).toThrow(/names that make a tree/);
    expect(() => loadSafetensors(named("__proto__.polluted"))).toThrow(/none of them __proto__/);
    expect(() => loadSafetensors(named(Array(300).fill("a").join(".")))).toThrow(/at most 256 parts/);
    expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
    const { constructor } = loadSafetensors(named("constructor.x")) as { constructor: unknown };
    expect(Object.keys(constructor as object)).toEqual(["x"]);
  });

  test("only 0, 1, ... without gaps make a list", () => {
    expect(Array.isArray(loadSafetensors(named("a.0", "a.1"))["a"])).toBe(true);
    expect(Array.isArray(loadSafetensors(named("a.1", "a.2"))["a"])).toBe(false);
    expect(Array.isArray(loadSafetensors(named("a.00"))["a"])).toBe(false);
    expect(Array.isArray(loadSafetensors(named("a.0", "a.x"))["a"])).toBe(false);
  });

  test("that differ from the wanted form are named", async () => {
    const bytes = await saveSafetensors({ a: tensor([1, 2]), b: tensor([1], [1], "i32"), h: tensor([1], [1], "f16") });
    const like = { a: tensor([0, 0]), b: tensor([0], [1], "i32"), h: tensor([0]) };
    expect(String(loadSafetensors(bytes, { like }).h)).toBe("Tensor f32 [1]");
    expect(() => loadSafetensors(bytes, { like: { ...like, c: tensor(0) } })).toThrow(
      /expected "c", got a file without/,
    );
    expect(() => loadSafetensors(bytes, { like: { a: like.a, b: like.b } })).toThrow(/no more tensors .* got "h"/);
    expect(() => loadSafetensors(bytes, { like: { ...like, a: tensor([0]) } })).toThrow(
      /expected Tensor f32 \[1\] at "a", got F32 \[2\]/,
    );
    expect(() => loadSafetensors(bytes, { like: { ...like, b: tensor([0]) } })).toThrow(/at "b", got I32 \[1\]/);
    expect(() => loadSafetensors(bytes, { like: { ...like, a: tensor([0, 0], [2], "f16") } })).toThrow(/got F32 \[2\]/);
  });

  test("that a file cannot hold are refused when it is written", async () => {
    const x = tensor([1]);
    await expect(saveSafetensors(x)).rejects.toThrow(/a name for every tensor, got one at ""/);
    await expect(saveSafetensors({ "a.b": x, a: { b: x } })).rejects.toThrow(
      /one tensor at each path, got two at "a.b"/,
    );
    await expect(saveSafetensors({ __metadata__: x })).rejects.toThrow(/paths that a file can hold/);
    await expect(saveSafetensors({ "\uD800": x })).rejects.toThrow(/paths that a file can hold/);
    const { size } = readSafetensors(await saveSafetensors({ tied: x, head: x })).tensors;
    expect(size).toBe(2);
  });
});
