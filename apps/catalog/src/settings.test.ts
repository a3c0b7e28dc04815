// What a public function takes by name it checks: a name that does not exist or a value of another kind would be ignored.
import { expect, test } from "vitest";
import { tasks } from "./index.js";
import { calls, type Call } from "./testing/calls.js";
import { objectParameters, type ObjectParameter } from "./testing/object-parameters.js";

/** Trees under the keys of checkpoints, and what the library itself or the writer of a package makes: not settings. */
const made = new RegExp(
  "Parameters$|^(MixerDefinition|AnyMixer|MixerConfig|LtiSystem|PowerTable|Device|WebGpuDevice|KernelRecord|VariantFacts|" +
    "NumberBounds|SampledOp|Golden\\w*|HostValues|Wandering|TaskEntry|Generator|Collection|TextSource|TrigramTexts|" +
    "ArrayBuffer|ArrayLike|\\w+Array)$",
);
/** Configs, of which functions take what they need: other names are not theirs to refuse. */
const config = /Config$/;
/** By function: settings of a config that it does not read. */
const unread: Readonly<Record<string, readonly string[]>> = {
  "h3.h3Layer": ["dModel", "chunkSize", "measure", "dState", "nSsm", "dtMin", "dtMax"],
  "mixer.mixerConfigOf": ["vocabSize", "checkpoint", "feedForward", "pattern", "nLayers"],
  "mixer.stepLanguageModel": ["checkpoint"],
  "s4.dssLayer": ["dtMin", "dtMax", "lambdaInit", "sepDtReIm"],
  "s4.lsslSystem": ["dModel", "dState", "channels", "measure", "dtMin", "dtMax", "activation", "chunkSize"],
  "s5.resettableS5": ["dModel", "dState", "blocks", "cInit", "dtMin", "dtMax", "activation", "chunkSize"],
  "testing.checkDerivatives": ["device"],
  "s5.resettableS5Step": ["dModel", "dState", "blocks", "cInit", "dtMin", "dtMax", "activation", "chunkSize"],
};
/** Functions whose settings have a test of their own, and parts of trees or configs without a name of their own. */
const elsewhere = new Set([
  "tasks.passkeyRetrieval",
  "webgpu.webgpu",
  "mixer.configure",
  "rnn.stepCell 1",
  "s4.s4Output 1",
]);
const parts = new Set(["h3.diagonalModel 0", "h3.memoryModel 0", "s4.s4Output 0", "s4.dssLayer 0"]);

/** Makers of tasks have laws of their own. */
const makers = new Set(
  tasks.map(({ id }) => `tasks.${id.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase())}`),
);
const parameters = objectParameters().filter(
  ({ of, place, type }) =>
    // Inputs of kernels are checked in one place: those in the list show it.
    (!of.endsWith("Kernel") || place > 0 || of in calls) &&
    !made.test(type) &&
    !elsewhere.has(of) &&
    !elsewhere.has(`${of} ${place}`) &&
    !makers.has(of),
);

/** What a call says of arguments it refuses; undefined if it takes them. */
async function refusal({ call }: Call, args: readonly unknown[]): Promise<string | undefined> {
  try {
    await call(...(args as never[]));
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

test("every public function with settings is known here", () => {
  const unknown = parameters.filter(({ of }) => !(of in calls)).map(({ of, type }) => `${of} (${type})`);
  expect(unknown).toEqual([]);
  expect(parameters.length).toBeGreaterThan(150);
});

const known = parameters.filter(({ of }) => of in calls);
test.each(known.map((each) => [`${each.of}, ${each.place}`, each] as const))("%s", async (_, parameter) => {
  const { of, place, properties }: ObjectParameter = parameter;
  const it = calls[of]!;
  expect(await refusal(it, it.args)).toBeUndefined();
  const given = it.args[place] as Readonly<Record<string, unknown>>;
  expect(typeof given).toBe("object");
  const withGiven = (value: unknown): readonly unknown[] => it.args.with(place, value);
  for (const wrong of [7, "x", null, true])
    expect(await refusal(it, withGiven(wrong)), `${String(wrong)} in the place of all`).toMatch(/expected|got/);
  if (!config.test(parameter.type) && !parts.has(`${of} ${place}`))
    expect(await refusal(it, withGiven({ ...given, misspelt: 1 })), "a misspelt name").toContain("misspelt");
  for (const { name, wrong } of properties) {
    if (wrong === undefined || unread[of]?.includes(name)) continue;
    const words = await refusal(it, withGiven({ ...given, [name]: wrong }));
    expect(words, `${name}: ${String(wrong)}`).toContain(name);
    expect(words).toMatch(/expected .*, got /);
  }
});
