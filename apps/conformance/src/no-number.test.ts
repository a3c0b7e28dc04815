// An element of an input that is no number makes those results no numbers that the record's reference says, and no others.
import { kernels, type AnyKernel } from "@seqmix/catalog";
import { useSoftwareAdapter } from "@seqmix/software-gpu";
import { cpu, isReal, key, mul, reference, type Device, type Tensor } from "@seqmix/tensor";
import { evaluate, randomValues, toTensor, type HostValues } from "@seqmix/testing";
import { webgpu } from "@seqmix/webgpu";
import { afterAll, describe, expect, test } from "vitest";

useSoftwareAdapter();
const onWebgpu = await webgpu();
afterAll(() => onWebgpu.close());
const oracle = reference();

type Named = Readonly<Record<string, HostValues>>;

function inputsOf({ record }: AnyKernel): Named {
  const { dims, ranges, halves, without } = record.samples[0]!;
  const given = Object.entries(record.inputs).filter(([name]) => !without?.includes(name));
  return Object.fromEntries(
    given.map(([name, axes]) => {
      const [low, high] = ranges?.[name] ?? [-1, 1];
      const shape = axes.split(" ").flatMap((axis) => (axis === "" ? [] : [dims[axis]!]));
      const dtype = halves?.includes(name) ? "f16" : (record.dtypes?.[name] ?? "f32");
      return [name, randomValues(key(name.length), shape, dtype, low, high)];
    }),
  );
}

/** The inputs with NaN past the middle of one. */
function spoiled(inputs: Named, name: string): Named {
  const data = inputs[name]!.data.slice();
  data[Math.floor(data.length * 0.6)] = NaN;
  return { ...inputs, [name]: { ...inputs[name]!, data } };
}

/** For every output, where it is a number. */
async function numbersOf(kernel: AnyKernel, inputs: Named, device: Device): Promise<string[]> {
  const outputs = await evaluate(device, () => {
    const tensors = Object.fromEntries(Object.entries(inputs).map(([name, x]) => [name, toTensor(x)]));
    const made: Readonly<Record<string, Tensor>> = kernel(tensors, kernel.record.samples[0]!.options);
    return Object.keys(kernel.record.outputs).map((name) => mul(made[name]!, 1));
  });
  return outputs.map(({ data }) => Array.from(data, (x) => (Number.isFinite(x) ? "." : "x")).join(""));
}

// where nothing decays, all of a channel is lost, however it is put together
const DECAYS = ["w"];

describe.each([
  ["cpu", cpu({ threads: 1 })],
  ["webgpu", onWebgpu],
] as [string, Device][])("what is no number, on %s", (_, device) => {
  test.each(kernels.map((kernel) => [kernel.record.name, kernel] as const))(
    "%s",
    async (_name, kernel) => {
      const inputs = inputsOf(kernel);
      for (const [name, { dtype }] of Object.entries(inputs)) {
        if (!isReal(dtype) || DECAYS.includes(name)) continue;
        const given = spoiled(inputs, name);
        expect(await numbersOf(kernel, given, device), name).toEqual(await numbersOf(kernel, given, oracle));
      }
    },
    120_000,
  );
});
