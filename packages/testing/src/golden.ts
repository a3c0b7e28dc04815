/** Running golden fixtures on a device: every case through the adapter of its operator, compared in outputs, states and gradients. */
import {
  add,
  leavesOf,
  mul,
  realize,
  sum,
  Tensor,
  valueAndGradAux,
  zeros,
  type Device,
  type TensorData,
  type Tree,
} from "@seqmix/tensor";
import {
  goldenValue,
  readGoldenCase,
  readGoldenIndex,
  type GoldenCase,
  type GoldenTensor,
  type GoldenValue,
  type GoldenValues,
  type GoldenTolerance,
} from "./golden-fixtures.js";

/** How the cases of one operator are run here. */
export interface GoldenAdapter {
  /** The operator's name in the fixtures. */
  readonly operator: string;
  /** Options that `run` takes into account. A case with another one that is set (not null or false) is unsupported. */
  readonly options: readonly string[];
  /**
   * true: the published code computes parts in float32 even in a float64 run, so that its numbers are no better than the
   * float32 tolerance, which then holds on every device.
   */
  readonly singlePrecision?: boolean;
  /** true, or the reason why the case cannot be run. */
  supports?(golden: GoldenCase): true | string;
  /**
   * The outputs as functions of the inputs and parameters, all under the fixture's names. Every output of the case has
   * to be there; further names are compared with the stored tensors of those names.
   */
  run(inputs: GoldenValues, golden: GoldenCase): GoldenValues;
}

/** What became of one case. */
export interface GoldenResult {
  /** The operator's name. */
  readonly operator: string;
  /** The case's name. */
  readonly case: string;
  /** "unsupported": no adapter, or an option that the adapter does not know. */
  readonly status: "passed" | "failed" | "unsupported";
  /** Largest error over tolerance of all tensors compared; at most 1 in a passed case. */
  readonly worst: number;
  /** Name of the tensor with the largest one. */
  readonly worstTensor: string;
  /** Whether a gradient of a sequence of more than 128 steps needed ten times the float32 tolerance. */
  readonly relaxed: boolean;
  /** Why the case failed or is unsupported. */
  readonly reason?: string;
}

/** Counts of one operator. */
export interface GoldenCounts {
  /** Cases within tolerance. */
  passed: number;
  /** Cases with an error or a value out of tolerance. */
  failed: number;
  /** Cases that nothing here can run. */
  unsupported: number;
  /** Largest error over tolerance of the cases that ran. */
  worstErrorOverTolerance: number;
  /** Passed cases in which a gradient needed ten times the float32 tolerance. */
  relaxed: number;
}

/** What {@link runGolden} returns; the content of the JSON file. */
export interface GoldenReport {
  /** Name of the device. */
  readonly device: string;
  /** Directory of the fixtures. */
  readonly fixtures: string;
  /** Counts by operator, in the order of the index. */
  readonly operators: Readonly<Record<string, GoldenCounts>>;
  /** Every case. */
  readonly cases: readonly GoldenResult[];
}

/** Settings of {@link runGolden}. */
export interface GoldenOptions {
  /** Fixture directory, with an index.json. */
  readonly directory: string;
  /** Where to compute. */
  readonly device: Device;
  /** Which of a case's tolerances holds. */
  readonly precision: "float64" | "float32";
  /** One adapter an operator. */
  readonly adapters: readonly GoldenAdapter[];
  /** Called after each case. */
  onResult?(result: GoldenResult, done: number, total: number): void;
}

/** For cases that name no tolerance of their own. */
const DEFAULT_TOLERANCE: Readonly<Record<"float64" | "float32", GoldenTolerance>> = {
  float64: { rtol: 1e-9, atol: 1e-10 },
  float32: { rtol: 1e-4, atol: 1e-5 },
};
/** Sequences longer than this get ten times the float32 tolerance for gradients. */
const LONG = 128;

/** Runs every case of a fixture directory. */
export async function runGolden({
  directory,
  device,
  precision,
  adapters,
  onResult,
}: GoldenOptions): Promise<GoldenReport> {
  const byOperator = new Map(adapters.map((adapter) => [adapter.operator, adapter]));
  const index = await readGoldenIndex(directory);
  const operators: Record<string, GoldenCounts> = {};
  const cases: GoldenResult[] = [];
  for (const entry of index) {
    const result = await runEntry();
    cases.push(result);
    const counts = (operators[entry.operator] ??= {
      passed: 0,
      failed: 0,
      unsupported: 0,
      worstErrorOverTolerance: 0,
      relaxed: 0,
    });
    counts[result.status]++;
    counts.worstErrorOverTolerance = Math.max(counts.worstErrorOverTolerance, result.worst);
    if (result.relaxed) counts.relaxed++;
    onResult?.(result, cases.length, index.length);

    async function runEntry(): Promise<GoldenResult> {
      const unsupported = (reason: string): GoldenResult => ({
        operator: entry.operator,
        case: entry.case,
        status: "unsupported",
        worst: 0,
        worstTensor: "",
        relaxed: false,
        reason,
      });
      const adapter = byOperator.get(entry.operator);
      if (!adapter) return unsupported("no adapter for this operator");
      try {
        const golden = await readGoldenCase(directory, entry);
        const unknown = Object.entries(golden.options).filter(
          ([name, value]) => !adapter.options.includes(name) && value !== null && value !== false,
        );
        if (unknown.length > 0)
          return unsupported(
            `unknown option ${unknown.map(([name, value]) => `${name}=${JSON.stringify(value)}`).join(", ")}`,
          );
        const verdict = adapter.supports?.(golden) ?? true;
        if (verdict !== true) return unsupported(verdict);
        return await runGoldenCase(adapter, golden, device, precision);
      } catch (error) {
        return {
          operator: entry.operator,
          case: entry.case,
          status: "failed",
          worst: Infinity,
          worstTensor: "",
          relaxed: false,
          reason: String(error),
        };
      }
    }
  }
  return { device: device.name, fixtures: directory, operators, cases };
}

/** Runs one case and compares everything it stores. */
export async function runGoldenCase(
  adapter: GoldenAdapter,
  golden: GoldenCase,
  device: Device,
  precision: "float64" | "float32",
): Promise<GoldenResult> {
  const { outputs, gradients } = buildCase(adapter, golden);
  await realize({ outputs, gradients } as Tree, { device });

  const held = adapter.singlePrecision ? "float32" : precision;
  const base = golden.tolerance[held] ?? DEFAULT_TOLERANCE[held];
  const long = precision === "float32" && lengthOf(golden) > LONG;
  const problems: string[] = [];
  let [worst, worstTensor, relaxed] = [0, "", false];
  const compare = async (name: string, value: GoldenValue | undefined, factor: number): Promise<void> => {
    const expected = golden.tensors[name]!;
    if (!value) return void problems.push(`${name}: expected a value, got none`);
    const parts = await Promise.all(partsOf(value).map((part) => part.data()));
    const shape = partsOf(value)[0]!.shape;
    if (shape.join() !== expected.shape.join() || (parts.length === 2) !== expected.complex)
      return void problems.push(
        `${name}: expected ${describe(expected.shape, expected.complex)}, got ${describe(shape, parts.length === 2)}`,
      );
    const ratio = errorOverTolerance(parts, expected, base);
    if (ratio > 1 && ratio <= factor) relaxed = true;
    const scaled = ratio / factor;
    if (!(scaled <= 1)) problems.push(`${name}: error is ${scaled.toPrecision(3)} times the tolerance`);
    if (!(scaled <= worst)) [worst, worstTensor] = [scaled, name];
  };
  for (const [name, { role }] of Object.entries(golden.tensors))
    if (role === "output" && name !== "loss") await compare(name, outputs[name], 1);
  for (const name of Object.keys(outputs))
    if (golden.tensors[name] && golden.tensors[name].role !== "output") await compare(name, outputs[name], 1);
  for (const name of Object.keys(gradients)) await compare(`grad_${name}`, gradients[name], long ? 10 : 1);
  for (const leaf of leavesOf({ outputs, gradients } as Tree)) leaf.dispose();
  return {
    operator: golden.operator,
    case: golden.name,
    status: problems.length === 0 ? "passed" : "failed",
    worst,
    worstTensor,
    relaxed: relaxed && problems.length === 0,
    ...(problems.length > 0 && { reason: problems.join("; ") }),
  };
}

/** Outputs, and gradients of the loss (the weighted sum of the outputs) for every input that has one stored. */
function buildCase(adapter: GoldenAdapter, golden: GoldenCase): { outputs: GoldenValues; gradients: GoldenValues } {
  const inputs: Record<string, GoldenValue> = {};
  const wanted: Record<string, GoldenValue> = {};
  for (const [name, stored] of Object.entries(golden.tensors)) {
    if (["output", "output_float32_run", "weight", "grad"].includes(stored.role)) continue;
    (golden.tensors[`grad_${name}`] ? wanted : inputs)[name] = goldenValue(stored);
  }
  const lossAndOutputs = (tree: GoldenValues): readonly [Tensor, GoldenValues] => {
    const outputs = adapter.run({ ...inputs, ...tree }, golden);
    let loss = zeros([]);
    for (const [name, value] of Object.entries(outputs)) {
      const weight = golden.tensors[`w_${name}`];
      if (weight)
        for (const [k, part] of partsOf(value).entries())
          loss = add(loss, sum(mul(part, partsOf(goldenValue(weight))[k]!)));
    }
    return [loss, outputs];
  };
  if (Object.keys(wanted).length === 0) return { outputs: adapter.run(inputs, golden), gradients: {} };
  const [, gradients, outputs] = valueAndGradAux(lossAndOutputs as (tree: Tree) => readonly [Tensor, GoldenValues])(
    wanted as Tree,
  );
  return { outputs, gradients: gradients as unknown as GoldenValues };
}

const partsOf = (value: GoldenValue): Tensor[] => (value instanceof Tensor ? [value] : [value.re, value.im]);
const describe = (shape: readonly number[], complex: boolean): string =>
  `${complex ? "complex " : ""}[${shape.join(",")}]`;

/** Extent of the sequence, by the names that the fixtures use. */
function lengthOf({ options }: GoldenCase): number {
  return Math.max(
    0,
    ...["L", "T", "seqlen", "length"].map((name) => (typeof options[name] === "number" ? options[name] : 0)),
  );
}

/** Largest |a - b| over atol + rtol max|b|; moduli for complex values. Infinite where a value is not a number. */
function errorOverTolerance(
  parts: readonly TensorData[],
  { data, complex }: GoldenTensor,
  { rtol, atol }: GoldenTolerance,
): number {
  const stride = complex ? 2 : 1;
  let [error, size] = [0, 0];
  for (let k = 0; k < data.length / stride; k++) {
    const expected = Array.from({ length: stride }, (_, part) => data[k * stride + part]!);
    const distance = Math.hypot(
      ...expected.map((value, part) => (parts[part]![k] === value ? 0 : parts[part]![k]! - value)),
    );
    if (!(distance <= error)) error = distance;
    if (Number.isNaN(error)) return Infinity;
    const modulus = Math.hypot(...expected);
    if (Number.isFinite(modulus)) size = Math.max(size, modulus);
  }
  return error / (atol + rtol * size);
}
