import { attention } from "@seqmix/attention";
import { mixers } from "@seqmix/catalog";
import type { AnyMixer } from "@seqmix/mixer";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { sortSettings, type Setting, type Settings } from "./settings.js";
import { tasks } from "./tasks.js";
import { defaultsOf, mixerConfigOf, parseTrial, trialOf, type Registry } from "./trial.js";

/** Settings of every type. */
const wordy: AnyMixer = {
  ...attention,
  id: "wordy",
  config: { dModel: 64, dtRank: "auto", gated: true, dState: 16 } as AnyMixer["config"],
};
const registry: Registry = { tasks, mixers: [attention, wordy] };

const value = (like: Setting): fc.Arbitrary<Setting> =>
  typeof like === "boolean"
    ? fc.boolean()
    : typeof like === "number"
      ? fc.oneof(
          fc.integer(),
          fc.double({ noNaN: true, noDefaultInfinity: true }).map((x) => (Object.is(x, -0) ? 0 : x)),
        )
      : fc.oneof(fc.constantFrom("auto", "exact", "S4D-Lin"), fc.integer({ min: 1, max: 64 }));

const anyTrial = fc.constantFrom(...tasks).chain((task) =>
  fc.constantFrom(...registry.mixers).chain((mixer) => {
    const names = Object.entries(defaultsOf(task, mixer));
    return fc.record({
      task: fc.constant(task),
      mixer: fc.constant(mixer),
      given: fc.record(Object.fromEntries(names.map(([name, like]) => [name, value(like)])), { requiredKeys: [] }),
    });
  }),
);

test("an identity reads back as the trial it names", () => {
  fc.assert(
    fc.property(anyTrial, ({ task, mixer, given }) => {
      const trial = trialOf(task.id, mixer.id, given as Settings, registry);
      const again = parseTrial(trial.identity, registry);
      expect(again.identity).toBe(trial.identity);
      expect(again.settings).toEqual(trial.settings);
      const expected = { ...defaultsOf(task, mixer), ...(given as Settings) };
      // A warm-up that nobody asked for is shorter than the run.
      const warmup =
        given["warmup"] ??
        Math.min(Number(expected["warmup"]), Math.max(0, Math.floor(Number(expected["steps"]) / 10)));
      const short = Number(expected["warmup"]) >= Number(expected["steps"]);
      expect(trial.settings).toEqual(sortSettings(short ? { ...expected, warmup } : expected));
    }),
  );
});

test("the order of settings, and saying a default, make no difference", () => {
  fc.assert(
    fc.property(anyTrial, fc.integer(), ({ task, mixer, given }, turn) => {
      const trial = trialOf(task.id, mixer.id, given as Settings, registry);
      const all = Object.entries(trial.settings).map(([name, setting]) => `${name}=${setting}`);
      const k = Math.abs(turn) % all.length;
      expect(
        parseTrial(`${task.id}:${mixer.id}:${[...all.slice(k), ...all.slice(0, k)].join(";")}`, registry).identity,
      ).toBe(trial.identity);
    }),
  );
});

test("the canonical form has dModel, L, seed and what differs, sorted", () => {
  expect(parseTrial("selective-copying:attention", registry).identity).toBe(
    "selective-copying:attention:dModel=64;L=40;seed=0",
  );
  expect(parseTrial("moby-dick:attention:", registry).identity).toBe("moby-dick:attention:dModel=64;L=128;seed=0");
  const hard = "selective-copying:wordy:dataTokens=16;positions=64;dModel=64;lr=7e-3;steps=3000;seed=0";
  expect(parseTrial(hard, registry).identity).toBe(
    "selective-copying:wordy:dataTokens=16;dModel=64;L=80;lr=0.007;seed=0;steps=3000",
  );
  expect(parseTrial("selective-copying:wordy:dtRank=4;gated=false", registry).settings).toMatchObject({
    dtRank: 4,
    gated: false,
    dState: 16,
  });
});

test.each([
  ["selective-copyin:attention", 'Unknown task "selective-copyin"; did you mean selective-copying?'],
  ["selective-copying:atention", 'Unknown mixer "atention"; did you mean attention?'],
  ["selective-copying:zzzzzzzzzzzz", "known are attention, wordy"],
  [
    "selective-copying:attention:dModle=32",
    'Unknown setting "dModle" of selective-copying:attention; did you mean dModel?',
  ],
  ["moby-dick:attention:positions=32", 'Unknown setting "positions"'],
  ["moby-dick:attention:toString=1", 'Unknown setting "toString"'],
  [
    "selective-copying:attention:steps=many",
    'Expected a number for steps in "selective-copying:attention:steps=many", got "many"',
  ],
  ["selective-copying:attention:lr=", 'got ""'],
  ["selective-copying:wordy:gated=1", "Expected a boolean for gated"],
  ["selective-copying:attention:steps", 'Expected setting=value in "selective-copying:attention:steps", got "steps"'],
  ["selective-copying:attention:lr=1;lr=2", "given twice"],
  ["selective-copying:attention:positions=32;L=99", "positions=32 with 8 data tokens makes L=40, but L=99 was given"],
  ["selective-copying", "Expected a trial as task:mixer:setting=value"],
  ["a:b:c:d", "Expected a trial as task:mixer:setting=value"],
])("%s is refused", (text, message) => {
  expect(() => parseTrial(text, registry)).toThrow(message);
});

test("steps of 50 and fewer run without saying a warm-up, and one that is said stays", () => {
  const warmupOf = (settings: string): unknown =>
    parseTrial(`selective-copying:attention:${settings}`, registry).settings["warmup"];
  expect([1, 9, 40, 50, 51].map((steps) => warmupOf(`steps=${steps}`))).toEqual([0, 0, 4, 5, 50]);
  expect(warmupOf("steps=40;warmup=50")).toBe(50);
  expect(parseTrial("selective-copying:attention:steps=40;warmup=50", registry).identity).toContain("warmup=50");
});

test("a task and a mixer keep their own settings where both have one of that name", () => {
  for (const task of tasks)
    for (const mixer of mixers) {
      const { settings } = trialOf(task.id, mixer.id, {}, { tasks, mixers });
      expect(settings).toMatchObject(task.defaults);
      const { dModel: _, ...own } = mixer.config as unknown as Settings;
      expect(mixerConfigOf({ task, mixer, settings })).toEqual(own);
    }
  const trial = parseTrial("delay:lmu:dt=0.5;lmu.dt=0.25;seed=0", { tasks, mixers });
  expect(trial.settings["dt"]).toBe(0.5);
  expect(mixerConfigOf(trial)["dt"]).toBe(0.25);
  expect(parseTrial(trial.identity, { tasks, mixers })).toEqual(trial);
});
