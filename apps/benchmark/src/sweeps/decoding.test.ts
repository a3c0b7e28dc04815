import { mixers as all } from "@seqmix/catalog";
import { runMixer, stateBytes, treeBytes } from "@seqmix/mixer";
import { cpu, key, leavesOf, normal } from "@seqmix/tensor";
import { afterAll, describe, expect, test } from "vitest";
import { decodingPage, formatSeconds } from "../report/decoding-page.js";
import { crossovers, measureDecoding, stateAfter, type DecodingRow } from "./decoding.js";

const device = cpu({ threads: 1 });
afterAll(() => device.close());

const mixers = ["mamba", "attention", "hyena"].map((name) => all.find(({ id }) => id === name)!);
const options = { device, channels: 8, contexts: [1, 4, 40], elements: 2, patience: 10, seed: 0 };

describe("decoding", () => {
  test.each(mixers.slice(0, 2))("a state after a context has the shapes of one that has read it: $id", (mixer) => {
    const config = { ...mixer.config, dModel: 8 };
    const params = mixer.init(config, key(0));
    for (const context of [1, 17]) {
      const [, real] = runMixer(mixer, config, params, normal(key(1), [1, context, 8]));
      const made = stateAfter(mixer, config, context, key(2));
      expect(leavesOf(made).map(({ shape, dtype }) => [...shape, dtype])).toEqual(
        leavesOf(real).map(({ shape, dtype }) => [...shape, dtype]),
      );
      expect(treeBytes(made)).toBe(stateBytes(mixer, { dModel: 8 }, context));
    }
  });

  test("costs are measured at every context: a finite state stays, that of attention grows, without one there is none", async () => {
    const rows = [];
    for (const mixer of mixers) rows.push(await measureDecoding(mixer, options));
    const [finite, growing, none] = rows as [DecodingRow, DecodingRow, DecodingRow];
    const bytes = ({ points }: DecodingRow): (number | null)[] => points.map((point) => point.bytes);
    expect(bytes(finite)).toEqual(Array.from({ length: 3 }, () => stateBytes(mixers[0]!, { dModel: 8 }, 1)));
    expect(bytes(growing)).toEqual([1, 4, 40].map((context) => stateBytes(mixers[1]!, { dModel: 8 }, context)));
    expect(bytes(none)).toEqual([null, null, null]);
    for (const { points } of [finite, growing]) for (const { seconds } of points) expect(seconds).toBeGreaterThan(0);
    for (const { points } of rows) for (const { prefill } of points) expect(prefill).toBeGreaterThan(0);
    // Constants of plans stay; a second measurement leaves nothing more.
    const held = (): number => device.memory().buffers + device.memory().collected;
    const before = held();
    await measureDecoding(mixers[0]!, options);
    expect(held()).toBe(before);
    const page = decodingPage(rows, crossovers(rows, growing), {
      channels: 8,
      device: "cpu",
      elements: 2,
      seed: 0,
      drawn: ["mamba", "attention"],
    });
    expect(page).toContain("Where a finite state begins to pay");
    expect(page.match(/<tr><td>hyena<\/td>/g)).toHaveLength(3);
    expect(page.slice(page.indexOf("<main>"), page.indexOf("</main>"))).not.toContain("NaN");
  });

  test("a finite state pays from where attention is slower for good, and from where its state is larger", () => {
    const row = (mixer: string, seconds: number[], bytes: number[]): DecodingRow => ({
      mixer,
      points: seconds.map((value, k) => ({ context: 4 ** k, seconds: value, bytes: bytes[k]!, prefill: null })),
    });
    const growing = row("attention", [3, 1, 2, 5], [100, 400, 1600, 6400]);
    const flat = (mixer: string, seconds: number, bytes: number): DecodingRow =>
      row(mixer, [seconds, seconds, seconds, seconds], [bytes, bytes, bytes, bytes]);
    expect(crossovers([growing, flat("a", 2, 250), flat("b", 6, 99), flat("c", 0.5, 200)], growing)).toEqual([
      { mixer: "a", time: 64, bytes: 3 },
      { mixer: "b", time: null, bytes: 1 },
      { mixer: "c", time: 1, bytes: 3 },
    ]);
    expect([2.5e-6, 0.0125, 3].map(formatSeconds)).toEqual(["2.50 µs", "12.5 ms", "3.00 s"]);
  });
});
