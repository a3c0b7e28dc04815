import { cpu, foldIn, key } from "@seqmix/tensor";
import { afterAll, expect, test } from "vitest";
import { stateCollapsePage } from "../../report/state-collapse-page.js";
import { mitigationsFor, runCollapseTrial } from "./collapse.js";
import { atLength, far, growth } from "./finding.js";
import { recallStreams } from "./recall-stream.js";

const device = cpu({ threads: 1 });
afterAll(() => device.close());

const setting = {
  stream: { keys: 4, memory: 6 },
  steps: 2,
  tokens: 128,
  learningRate: 1e-3,
  dModel: 16,
  nLayers: 2,
  longest: 128,
  stretch: 16,
  sequences: 2,
};

test("a value is due where its key was among the last pairs, and is the one it had there", async () => {
  const memory = 6;
  const streams = recallStreams({ keys: 8, memory }, key(1), 3);
  const stretches = [streams.next(64), streams.next(32), streams.next(64)];
  for (let b = 0; b < 3; b++) {
    const pairs: { readonly key: number; readonly value: number; readonly label: number; readonly due: number }[] = [];
    for (const { tokens, labels, mask } of stretches) {
      const L = tokens.shape[1]!;
      const [token, label, due] = [await tokens.data(), await labels.data(), await mask.data()];
      for (let t = b * L; t < (b + 1) * L; t += 2) {
        pairs.push({ key: token[t]!, value: token[t + 1]!, label: label[t]!, due: due[t]! });
        expect(due[t + 1]).toBe(0);
      }
    }
    let count = 0;
    pairs.forEach(({ key: k, value, label, due }, n) => {
      const before = pairs.slice(Math.max(0, n - memory), n).filter((pair) => pair.key === k);
      expect(due).toBe(before.length > 0 ? 1 : 0);
      expect(label).toBe(value);
      if (due === 1) expect(value).toBe(before.at(-1)!.value);
      count += due;
    });
    expect(count).toBeGreaterThan(10);
    expect(new Set(pairs.map(({ value }) => value)).size).toBeGreaterThan(4);
  }
});

test("the same key gives the same streams, another gives others", async () => {
  const drawn = async (seed: number): Promise<number[]> => [
    ...(await recallStreams(setting.stream, foldIn(key(seed), "x"), 2)
      .next(32)
      .tokens.data()),
  ];
  expect(await drawn(1)).toEqual(await drawn(1));
  expect(await drawn(1)).not.toEqual(await drawn(2));
});

test("a trained model is read in every way, alike as long as nothing is changed, and gives its memory back", async () => {
  const trial = { trained: 32, dState: 8, seed: 0 };
  const first = await runCollapseTrial(setting, trial, device);
  const held = device.memory().buffers + device.memory().collected;
  const outcome = await runCollapseTrial(setting, trial, device);
  expect(outcome).toEqual(first);
  expect(device.memory().buffers + device.memory().collected).toBe(held);
  expect(outcome.curves.map(({ mitigation }) => mitigation)).toEqual(mitigationsFor(32, 16).map(({ name }) => name));
  for (const curve of outcome.curves) {
    expect(curve.positions).toEqual([16, 32, 64, 128]);
    for (const sizes of curve.states) for (const size of sizes) expect(size).toBeGreaterThan(0);
    expect(curve.accuracy[0]).toBe(outcome.curves[0]!.accuracy[0]);
    for (const share of [atLength(curve, 32), far(curve)]) expect(share).toBeLessThanOrEqual(1);
  }
  const [none, less, limited, window] = outcome.curves;
  // less is kept, no head is above the limit, and what is older than the window is gone
  for (const curve of [less, window]) expect(growth(curve!, 32)).toBeLessThan(growth(none!, 32));
  const most = (sizes: readonly number[]): number => Math.max(...sizes);
  expect(most(limited!.states.at(-1)!)).toBeLessThanOrEqual(most(none!.states[1]!) * 2);
  const page = stateCollapsePage([outcome], setting);
  expect(page.match(/<svg/g)!.length).toBeGreaterThanOrEqual(3);
  expect(page).not.toContain("NaN");
  // a size has charts and rows of the lengths that it was trained to
  const two = stateCollapsePage([outcome, { ...outcome, dState: 16, trained: 64 }], setting);
  expect(two.match(/<svg/g)!.length).toBe(2 * page.match(/<svg/g)!.length);
  expect(two.match(/<tr>/g)!.length).toBe(page.match(/<tr>/g)!.length + 1);
});
