import { cpu, key, normal, realize, reference, tensor, uniform, type Tensor } from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import { sampleTokens, type SamplingOptions } from "./index.js";

const [B, V] = [40, 37];
/** Made anew each time: a realized tensor lives on one device. */
const logitsOf = (): Tensor => normal(key(1), [B, V]);
const drawsOf = (): Tensor => uniform(key(2), [B]);

const chosenBy = async (device: ReturnType<typeof cpu>, x: Tensor, options: SamplingOptions): Promise<number[]> => {
  const chosen = sampleTokens(x, options, drawsOf());
  await realize(chosen, { device });
  return [...(await chosen.data())];
};

/** By the definition, in float64: among the k largest, where the sum of probabilities passes the draw. */
async function expected({ temperature = 0, topK = V }: SamplingOptions): Promise<number[]> {
  const [rows, u] = [await logitsOf().data(), await drawsOf().data()];
  return Array.from({ length: B }, (_, b) => {
    const row = [...rows.subarray(b * V, (b + 1) * V)];
    const [...sorted] = row.toSorted((x, y) => y - x);
    if (temperature === 0) return row.indexOf(sorted[0]!);
    const weights = row.map((x) => (x >= sorted[topK - 1]! ? Math.exp((x - sorted[0]!) / temperature) : 0));
    let left = u[b]! * weights.reduce((sum, x) => sum + x, 0);
    return weights.findIndex((x) => (left -= x) < 0);
  });
}

describe("sampling", () => {
  test.each([
    ["cpu", cpu()],
    ["reference", reference()],
  ] as const)("chooses what the definition says, on %s", async (_, device) => {
    for (const options of [
      {},
      { temperature: 1 },
      { temperature: 0.3, topK: 5 },
      { temperature: 2, topK: 1 },
      { temperature: 1.5, topK: V },
    ])
      expect(await chosenBy(device, logitsOf(), options)).toEqual(await expected(options));
  });

  test("equal logits: the first one without a temperature, all of them with one however small topK is", async () => {
    const flat = tensor(new Float32Array(B * V), [B, V]);
    expect(await chosenBy(cpu(), flat, {})).toEqual(new Array(B).fill(0));
    const drawn = await chosenBy(cpu(), flat, { temperature: 1, topK: 1 });
    const u = await drawsOf().data();
    expect(drawn).toEqual(Array.from(u, (x) => Math.floor(x * V)));
  });

  test("settings that mean nothing are refused", () => {
    expect(() => sampleTokens(logitsOf(), { temperature: -1 })).toThrow(/temperature of at least 0, got -1/);
    expect(() => sampleTokens(logitsOf(), { temprature: 1 } as never)).toThrow(
      /sampleTokens: expected .*temperature.*, got temprature/,
    );
    expect(() => sampleTokens(logitsOf(), { topK: 0 })).toThrow(/topK, a whole number of at least 1, got 0/);
    expect(() => sampleTokens(logitsOf(), { temperature: 1 })).toThrow(
      /expected draws \[40\] for logits \[40,37\], got none/,
    );
  });
});
