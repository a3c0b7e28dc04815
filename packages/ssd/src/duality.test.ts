/** State-space duality: the recurrence, the quadratic form and the chunked one are one map. */
import {
  assertClose,
  checkDerivatives,
  evaluate,
  randomValues,
  toleranceOfScale,
  toTensor,
  type HostValues,
} from "@seqmix/testing";
import {
  add,
  concat,
  cpu,
  grad,
  key,
  mul,
  reference,
  reshape,
  sliceAxis,
  stack,
  sum,
  type Device,
  type Tensor,
} from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import {
  structuredMaskedAttention,
  structuredMaskedAttentionStep,
  type StructuredMaskedAttentionArguments,
  type StructuredMaskedAttentionOptions,
} from "./index.js";

const oracle = reference();
const [B, H, K, V] = [2, 4, 3, 5];
const ALGORITHMS = ["recurrent", "chunked", "quadratic"] as const;

type Inputs = Readonly<Record<string, HostValues>>;
const tensors = (given: Inputs): StructuredMaskedAttentionArguments =>
  Object.fromEntries(Object.entries(given).map(([name, x]) => [name, toTensor(x)])) as never;

/** Random arguments; `decay` is the shape of the log decay, drawn from `range`. */
function inputsOf({
  L,
  decay,
  range = [-2, 0],
  heads = [H, H, H],
  start = true,
  resets,
}: {
  readonly L: number;
  readonly decay?: readonly number[] | undefined;
  readonly range?: readonly [number, number];
  readonly heads?: readonly number[];
  readonly start?: boolean;
  readonly resets?: readonly number[];
}): Inputs {
  // In the first sequence of the batch alone, so that the two differ.
  const flags = (positions: readonly number[]): HostValues => ({
    dtype: "f32",
    shape: [B, L],
    data: Float64Array.from({ length: B * L }, (_, at) => Number(at < L && positions.includes(at % L))),
  });
  return {
    q: randomValues(key(1), [B, L, heads[0]!, K]),
    k: randomValues(key(2), [B, L, heads[1]!, K]),
    v: randomValues(key(3), [B, L, heads[2]!, V]),
    ...(decay && { logDecay: randomValues(key(4), decay, "f32", ...range) }),
    ...(start && { h0: randomValues(key(5), [B, H, K, V]) }),
    ...(resets && { resets: flags(resets) }),
  };
}

/** Outputs, final state, and the gradients of a weighted sum of both. */
async function all(
  given: Inputs,
  options: StructuredMaskedAttentionOptions,
  device: Device = oracle,
): Promise<HostValues[]> {
  const run = (inputs: StructuredMaskedAttentionArguments): readonly [Tensor, Tensor] => {
    const { y, hT } = structuredMaskedAttention(inputs, options);
    return [y, hT];
  };
  const { resets, ...active } = given;
  return evaluate(device, () => {
    const fixed = resets && { resets: toTensor(resets) };
    const gradients = grad((inputs: Readonly<Record<string, Tensor>>) => {
      const [y, hT] = run({ ...(inputs as unknown as StructuredMaskedAttentionArguments), ...fixed });
      return add(
        sum(mul(y, toTensor(randomValues(key(6), y.shape)))),
        sum(mul(hT, toTensor(randomValues(key(7), hT.shape)))),
      );
    })(tensors(active) as never) as unknown as Readonly<Record<string, Tensor>>;
    return [...run(tensors(given)), ...Object.values(gradients)].map((x) => mul(x, 1));
  });
}

function expectSame(
  law: string,
  actual: readonly HostValues[],
  expected: readonly HostValues[],
  relative: number,
): void {
  expect(actual.length).toBe(expected.length);
  expected.forEach(({ data, shape }, k) =>
    assertClose(`${law}, value ${k}`, actual[k]!.data, data, toleranceOfScale(data, relative), shape),
  );
}

const kinds = (L: number): readonly (readonly [string, readonly number[] | undefined])[] => [
  ["no decay", undefined],
  ["a decay a head", [H]],
  ["a decay a head and key", [H, K]],
  ["a decay a head and position", [B, L, H]],
  ["a decay a head, position and key", [B, L, H, K]],
];
const sharings: readonly (readonly [string, readonly number[]])[] = [
  ["own queries, keys and values", [H, H, H]],
  ["values of their own (Mamba-2)", [2, 2, H]],
  ["queries of their own", [H, 1, 1]],
  ["keys of their own", [2, H, 2]],
];

describe("state-space duality: quadratic = chunked = recurrent", () => {
  for (const [kind, decay] of kinds(13))
    for (const [sharing, heads] of sharings)
      test(`${kind}, ${sharing}`, async () => {
        const given = inputsOf({ L: 13, decay, heads, resets: [4, 9, 10] });
        const expected = await all(given, { algorithm: "recurrent" });
        expectSame("quadratic = recurrent", await all(given, { algorithm: "quadratic" }), expected, 1e-12);
        expectSame("chunked = recurrent", await all(given, { algorithm: "chunked", chunkSize: 4 }), expected, 1e-12);
        const bare = inputsOf({ L: 13, decay, heads, start: false });
        const folded = await all(bare, { algorithm: "recurrent" });
        expectSame("quadratic = recurrent, bare", await all(bare, { algorithm: "quadratic" }), folded, 1e-12);
        expectSame("chunked, bare", await all(bare, { algorithm: "chunked", chunkSize: 4 }), folded, 1e-12);
      });

  test.each([1, 2, 5, 6, 12, 13, 100])("in chunks of %i positions", async (chunkSize) => {
    for (const [, decay] of kinds(12)) {
      const given = inputsOf({ L: 12, decay, heads: [2, 2, H] });
      expectSame("chunked", await all(given, { algorithm: "chunked", chunkSize }), await all(given, {}), 1e-12);
    }
  });

  test.each(["quadratic", "chunked", "recurrent"] as const)(
    "%s on the cpu device is the reference's",
    async (algorithm) => {
      const device = cpu();
      for (const [, decay] of kinds(37)) {
        const given = inputsOf({ L: 37, decay, heads: [2, 2, H], resets: [11] });
        expectSame(algorithm, await all(given, { algorithm, chunkSize: 8 }, device), await all(given, {}), 1e-5);
      }
      await device.close();
    },
  );
});

describe("the recurrence is what it says", () => {
  test("S_t = a_t S_(t-1) + k_t v_t^T, y_t = q_t^T S_t in a plain loop", async () => {
    const L = 6;
    const given = inputsOf({ L, decay: [B, L, H], heads: [2, 2, H] });
    const [y] = await all(given, {});
    for (let b = 0; b < B; b++)
      for (let h = 0; h < H; h++) {
        const group = Math.floor(h / 2);
        const S = Float64Array.from(given["h0"]!.data.slice((b * H + h) * K * V, (b * H + h + 1) * K * V));
        for (let t = 0; t < L; t++) {
          const [at, row] = [(b * L + t) * H + h, ((b * L + t) * 2 + group) * K];
          for (let n = 0; n < K * V; n++)
            S[n] =
              Math.exp(given["logDecay"]!.data[at]!) * S[n]! +
              given["k"]!.data[row + Math.floor(n / V)]! * given["v"]!.data[at * V + (n % V)]!;
          for (let p = 0; p < V; p++) {
            let read = 0;
            for (let n = 0; n < K; n++) read += given["q"]!.data[row + n]! * S[n * V + p]!;
            expect(y!.data[at * V + p]).toBeCloseTo(read, 12);
          }
        }
      }
  });

  test.each(kinds(3))("folded steps are the whole, with %s", async (_, decay) => {
    const given = inputsOf({ L: 3, decay, heads: [2, 2, H] });
    const stepped = await evaluate(oracle, () => {
      const { q, k, v, logDecay, h0 } = tensors(given);
      const outputs: Tensor[] = [];
      let h = h0!;
      for (let t = 0; t < 3; t++) {
        const at = (x: Tensor): Tensor => reshape(sliceAxis(x, 1, t, t + 1), [B, ...x.shape.slice(2)]);
        const now = logDecay && (decay!.length > 2 ? at(logDecay) : logDecay);
        const decayNow = now && (decay!.length % 2 === 1 ? reshape(now, [...now.shape, 1]) : now);
        const [y, next] = structuredMaskedAttentionStep({ q: at(q), k: at(k), v: at(v), logDecay: decayNow, h });
        outputs.push(y);
        h = next;
      }
      return [stack(outputs, 1), mul(h, 1)];
    });
    expectSame("steps", stepped, (await all(given, {})).slice(0, 2), 1e-12);
  });

  test.each(kinds(5))("gradients are finite differences, with %s", async (_, decay) => {
    const given = inputsOf({ L: 5, decay, heads: [2, 2, H], resets: [3] });
    const { resets, ...active } = given;
    for (const algorithm of ALGORITHMS)
      await checkDerivatives({
        law: algorithm,
        names: Object.keys(active),
        inputs: Object.values(active),
        loss: (values) => {
          const inputs = Object.fromEntries(Object.keys(active).map((name, k) => [name, values[k]!]));
          const { y, hT } = structuredMaskedAttention(
            { ...(inputs as never as StructuredMaskedAttentionArguments), resets: toTensor(resets!) },
            { algorithm, chunkSize: 2 },
          );
          return add(sum(mul(y, y)), sum(mul(hT, hT)));
        },
      });
  });
});

describe("any decay, and exact boundaries", () => {
  // Decays of e^-200 a step among weak ones: a difference of sums over all positions would lose the weak.
  const strong = (shape: readonly number[]): HostValues => {
    const weak = randomValues(key(8), shape, "f32", -0.1, 0);
    return { ...weak, data: Float64Array.from(weak.data, (x, at) => (at % 7 === 3 ? -200 : at % 11 === 5 ? -30 : x)) };
  };

  test.each([
    ["a head", [B, 40, H]],
    ["a key", [B, 40, H, K]],
  ] as const)("decays to e^-200 a step, one %s: every algorithm is as exact as single precision", async (_, shape) => {
    const device = cpu();
    const given = { ...inputsOf({ L: 40, heads: [2, 2, H] }), logDecay: strong(shape) };
    const expected = await all(given, {});
    for (const algorithm of ALGORITHMS) {
      const found = await all(given, { algorithm, chunkSize: 16 }, device);
      expectSame(algorithm, found, expected, 1e-5);
    }
    await device.close();
  });

  test.each(kinds(12))("packed sequences are each alone, exactly, with %s", async (_, decay) => {
    const given = inputsOf({ L: 12, decay, heads: [2, 2, H], resets: [0, 5, 9] });
    const first = given["resets"]!.data.slice(0, 12);
    const huge = {
      ...given,
      h0: { ...given["h0"]!, data: given["h0"]!.data.map(() => 1e30) },
      resets: { ...given["resets"]!, data: Float64Array.from([...first, ...first]) },
    };
    for (const algorithm of ALGORITHMS) {
      const packed = await all(huge, { algorithm, chunkSize: 4 });
      const alone = await evaluate(oracle, () => {
        const { q, k, v, logDecay } = tensors(given);
        const parts = [0, 5, 9].map((start, n) => {
          const cut = (x: Tensor): Tensor => sliceAxis(x, 1, start, [5, 9, 12][n]!);
          const own = logDecay && (decay!.length > 2 ? cut(logDecay) : logDecay);
          return structuredMaskedAttention({ q: cut(q), k: cut(k), v: cut(v), logDecay: own });
        });
        return [
          concat(
            parts.map(({ y }) => y),
            1,
          ),
          mul(parts[2]!.hT, 1),
        ];
      });
      expectSame(algorithm, packed.slice(0, 2), alone, 1e-12);
    }
  });

  test("nothing before, nothing at all, and wrong shapes", async () => {
    const given = inputsOf({ L: 0, decay: [B, 0, H] });
    for (const algorithm of ALGORITHMS) {
      const { y, hT } = structuredMaskedAttention(tensors(given), { algorithm });
      expect(y.shape).toEqual([B, 0, H, V]);
      expect([...(await hT.data())]).toEqual([...Float32Array.from(given["h0"]!.data)]);
    }
    const right = inputsOf({ L: 6 });
    const wrong =
      (changes: Inputs): (() => unknown) =>
      () =>
        structuredMaskedAttention(tensors({ ...right, ...changes }));
    expect(wrong({ q: randomValues(key(1), [B, 6, 3, K]) })).toThrow("or of G that divide H, got 3, 4, 4 heads");
    expect(wrong({ k: randomValues(key(1), [B, 6, H, 2]) })).toThrow("expected k [2,6,4,3], got shape [2,6,4,2]");
    expect(wrong({ logDecay: randomValues(key(1), [B, 5, H]) })).toThrow("expected logDecay [4] or [4,3]");
    expect(wrong({ h0: randomValues(key(1), [B, H, V, K]) })).toThrow("expected h0 [2,4,3,5]");
    expect(wrong({ resets: randomValues(key(1), [B, 5]) })).toThrow("expected resets [2,6]");
    expect(() => structuredMaskedAttention(tensors(right), { chunkSize: 0 })).toThrow(
      "chunkSize, a whole number of at least 1, got 0",
    );
  });
});
