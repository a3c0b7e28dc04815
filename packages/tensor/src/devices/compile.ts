/** Functions traced once and replayed: a step that builds no graph, looks for no plan and keeps what it runs on. */
import { assertFunction, assertSettings } from "../graph/assert.js";
import { isDebug } from "../graph/debug.js";
import { DeviceError } from "../graph/errors.js";
import { listHere, noteMade, type Made } from "../graph/scope.js";
import { assertAlive, Tensor } from "../graph/tensor.js";
import { leavesOf, type Tree } from "../graph/tree.js";
import { identity } from "../ops/movement.js";
import { graphOf } from "../plan/signature.js";
import { putTogether, takeApart, type Given } from "./arguments.js";
import type { Device, PreparedGraph } from "./device.js";
import { assertDevice, bufferOn, own } from "./placement.js";
import { explain, inTurn, realize, settle } from "./realize.js";

/** Where and how a compiled function runs. */
export interface CompileOptions {
  /** Where to compute. By default the device that the arguments live on, or else `cpu()`. */
  readonly device?: Device;
  /** Numbers of arguments whose memory the results may take over; their tensors are unusable afterwards. */
  readonly donate?: readonly number[];
  /** false: one kernel per operation. The values agree with the fused ones up to rounding. */
  readonly fuse?: boolean;
  /** Traces kept, 16 by default; the least recently used are dropped. */
  readonly traces?: number;
}

/** A function of the same arguments whose results are realized. */
export interface Compiled<A extends readonly unknown[], R extends Tree> {
  (...args: A): Promise<R>;
  /** The kernels that a call runs, as `explain` prints them. */
  explain(...args: A): Promise<string>;
}

/**
 * Compiles a function of trees of tensors. The first call with arguments of a structure (form, shapes, types, and
 * everything in them that is no tensor) traces `f`: it runs on tensors without values, gradients and all, and what it
 * returns is planned. Further calls replay that on the device: the results are the numbers that `realize(f(...args))`
 * would give, bit for bit, and are realized already.
 *
 * A number that changes from call to call belongs into a tensor; as a constant it is a structure of its own. Tensors that
 * `f` takes from outside its arguments are constants of the trace. `f` must not await, realize or read anything. In debug
 * mode nothing is compiled, so that errors name the line.
 *
 * @param f Takes trees of tensors and constants, returns a tree of tensors.
 * @returns The compiled function; with `donate`, results lie where the arguments given up lay.
 * @throws DeviceError if `f` reads the values of an argument while it is traced, or is given such an argument itself.
 */
export function compile<A extends readonly unknown[], R extends Tree>(
  f: (...args: A) => R,
  options: CompileOptions = {},
): Compiled<A, R> {
  assertFunction("compile", f);
  assertSettings("compile", options, {
    device: "own",
    donate: "list?",
    fuse: "flag",
    traces: { from: 1, whole: true },
  });
  if (options.device !== undefined) assertDevice("compile", options.device);
  const { donate = [], fuse = true, traces: most = 16 } = options;
  const traces = new Map<string, Trace>();
  const identities = new Map<Device, number>();

  const traceFor = async (device: Device, given: Given, args: A): Promise<Trace> => {
    if (!identities.has(device)) identities.set(device, identities.size);
    const key = `${identities.get(device)}|${given.key}`;
    const trace = traces.get(key) ?? (await traceOf(f, device, given, args, fuse));
    traces.delete(key);
    traces.set(key, trace);
    if (traces.size > most) traces.delete(traces.keys().next().value!);
    return trace;
  };

  const call = async (...args: A): Promise<R> => {
    const donated = donate.map((k) => args[k] as Tree);
    const where = options.device && { device: options.device };
    if (isDebug()) return realize(f(...args), { ...where, donate: donated, fuse });
    const caller = listHere();
    const given = takeApart(args);
    const { tensors } = given;
    for (const x of tensors) assertArgument(x);
    const lazy = tensors.filter((x) => x.source.kind === "call");
    if (lazy.length > 0) await realize(lazy, { ...where });
    const results = await inTurn(tensors, options.device ?? deviceOf(tensors), async (device) =>
      replay<R>(await traceFor(device, given, args), device, tensors, donatedOf(given, donate)),
    );
    if (caller) noteResults(caller, results, tensors);
    return results;
  };
  const explained = (...args: A): Promise<string> =>
    explain(f(...args), { ...(options.device && { device: options.device }) });
  return Object.assign(call, { explain: explained });
}

/** Results are made by whoever calls; arguments that come back are not. */
function noteResults(caller: Made, results: Tree, given: readonly Tensor[]): void {
  const before = new Set(given);
  for (const x of leavesOf(results)) if (!before.has(x)) noteMade(x, caller);
}

function assertArgument(x: Tensor): void {
  assertAlive(x, "compile");
  if (x.source.kind === "argument")
    throw new DeviceError(
      "compile: expected tensors with values, got an argument of a function that is being compiled; call the function itself there and compile the outer one",
    );
}

const deviceOf = (tensors: readonly Tensor[]): Device | undefined => {
  for (const { source } of tensors) if (source.kind === "buffer") return source.device;
  return undefined;
};

/** Numbers of the tensors that come with donated arguments. */
function donatedOf({ bounds, tensors }: Given, donate: readonly number[]): ReadonlySet<number> {
  const numbers = new Set<number>();
  for (const k of donate) for (let n = bounds[k] ?? tensors.length; n < (bounds[k + 1] ?? 0); n++) numbers.add(n);
  return numbers;
}

/** A graph ready to run, with where its leaves come from and where its results go. */
interface Trace {
  readonly prepared: PreparedGraph | undefined;
  /** By leaf: the number of an argument's tensor, or a tensor from outside. */
  readonly leaves: readonly (number | Tensor)[];
  /** By computed result. */
  readonly computed: readonly Pick<Tensor, "shape" | "dtype">[];
  /** By tensor of `form`: the number of a computed result, or ~n for tensor n of the arguments. */
  readonly results: ReadonlyMap<Tensor, number>;
  /** What `f` returned. Its tensors stand for results and have no values. */
  readonly form: Tree;
}

async function traceOf<A extends readonly unknown[], R extends Tree>(
  f: (...args: A) => R,
  device: Device,
  { tensors }: Given,
  args: A,
  fuse: boolean,
): Promise<Trace> {
  const places = tensors.map(({ shape, dtype }) => new Tensor(shape, dtype, { kind: "argument" }));
  const numbers = new Map(places.map((x, k) => [x, k]));
  const made = f(...(putTogether(args, places) as unknown as A));
  const results = new Map<Tensor, number>();
  const roots: Tensor[] = [];
  const marks: Tensor[] = [];
  for (const x of leavesOf(made)) {
    if (results.has(x)) continue;
    assertAlive(x, "compile");
    const number = numbers.get(x);
    const mark = new Tensor(x.shape, x.dtype, { kind: "argument" });
    marks.push(mark);
    // A tensor from outside is a constant of the trace: the result is a copy.
    results.set(x, number === undefined ? roots.push(x.source.kind === "call" ? x : identity(x)) - 1 : ~number);
  }
  const graph = graphOf(roots);
  return {
    prepared: roots.length > 0 ? await device.prepare(graph, { fuse }) : undefined,
    leaves: graph.leaves.map((x) => numbers.get(x) ?? x),
    computed: roots.map(({ shape, dtype }) => ({ shape, dtype })),
    ...withoutGraph(made, results, marks),
  };
}

/** The form of a result with other tensors in it, so that a trace keeps no calls alive. */
function withoutGraph(
  made: Tree,
  results: ReadonlyMap<Tensor, number>,
  marks: readonly Tensor[],
): Pick<Trace, "form" | "results"> {
  const instead = new Map([...results.keys()].map((x, k) => [x, marks[k]!]));
  return {
    form: filled(made, instead),
    results: new Map([...results].map(([x, number]) => [instead.get(x)!, number])),
  };
}

async function replay<R extends Tree>(
  { prepared, leaves, computed, results, form }: Trace,
  device: Device,
  given: readonly Tensor[],
  donated: ReadonlySet<number>,
): Promise<R> {
  const kept = new Set([...results.values()].map((number) => ~number));
  const leaving = [...donated].filter((n) => !kept.has(n)).map((n) => given[n]!);
  const values = leaves.map((leaf) => (typeof leaf === "number" ? given[leaf]! : leaf));
  for (const x of values) bufferOn(x, device, "compile");
  const free = leaving.flatMap(({ source }) =>
    source.kind === "buffer" && source.device === device ? [source.buffer] : [],
  );
  const buffers = prepared ? await prepared.run(values, free) : [];
  const made = computed.map(({ shape, dtype }, k) => {
    const x = new Tensor(shape, dtype, { kind: "argument" });
    own(x, device, buffers[k]!);
    return x;
  });
  const instead = new Map<Tensor, Tensor>();
  for (const [mark, number] of results) {
    if (number < 0) settle(given[~number]!, device);
    instead.set(mark, number < 0 ? given[~number]! : made[number]!);
  }
  for (const x of leaving) x.release("donated");
  return filled(form, instead) as R;
}

function filled(form: Tree, instead: ReadonlyMap<Tensor, Tensor>): Tree {
  if (form instanceof Tensor) return instead.get(form)!;
  if (Array.isArray(form)) return form.map((each: Tree) => filled(each, instead));
  const out: Record<string, Tree> = {};
  for (const name of Object.keys(form)) out[name] = filled((form as Record<string, Tree>)[name]!, instead);
  return out;
}
