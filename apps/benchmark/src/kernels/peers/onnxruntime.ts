/** ONNX Runtime for Node: native code, one or two threads. */
import type { Contestant } from "../contestant.js";
import { encodeOnnxModel, type OnnxModel } from "../onnx-model.js";

interface OnnxTensor {
  readonly data: Float32Array;
}

interface Session {
  run(
    inputs: Readonly<Record<string, OnnxTensor>>,
    outputs: Readonly<Record<string, OnnxTensor>>,
  ): Promise<Readonly<Record<string, OnnxTensor>>>;
  release(): Promise<void>;
}

/** The package, as far as the benchmark calls it. */
export interface OnnxRuntimePackage {
  readonly Tensor: new (type: "float32", data: Float32Array, shape: readonly number[]) => OnnxTensor;
  readonly InferenceSession: {
    create(
      model: Uint8Array,
      options: { readonly intraOpNumThreads: number; readonly interOpNumThreads: number },
    ): Promise<Session>;
  };
}

/** Runs a model of one output on values in the order of its inputs; the output's memory is made once. */
export async function onnxContestant(
  { Tensor, InferenceSession }: OnnxRuntimePackage,
  model: OnnxModel,
  values: readonly Float32Array[],
  threads: number,
): Promise<Contestant> {
  const session = await InferenceSession.create(encodeOnnxModel(model), {
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
  });
  const inputs = Object.fromEntries(
    model.inputs.map(({ name, shape }, k) => [name, new Tensor("float32", values[k]!, shape)]),
  );
  const outputs = Object.fromEntries(
    model.outputs.map(({ name, shape }) => [
      name,
      new Tensor("float32", new Float32Array(shape.reduce((a, b) => a * b, 1)), shape),
    ]),
  );
  const first = model.outputs[0]!.name;
  return {
    run: async () => void (await session.run(inputs, outputs)),
    read: async () => (await session.run(inputs, outputs))[first]!.data,
    close: () => session.release(),
  };
}
