/// <reference lib="esnext.disposable" preserve="true" />
/** Training without ceremony: parameters and optimizer state with one owner, who compiles, donates and disposes. */
import {
  assertFields,
  assertOneOf,
  assertSettings,
  autocast,
  compile,
  dispose,
  DisposedError,
  keep,
  leavesOf,
  mapTree,
  mul,
  realize,
  replaceLeaves,
  ShapeError,
  Tensor,
  valueAndGradAux,
  type Device,
  type MapTree,
  type Tree,
} from "@seqmix/tensor";
import { clipByGlobalNorm } from "./clipping.js";
import {
  chosenTree,
  initLossScaling,
  nextLossScaling,
  unscaled,
  type LossScaling,
  type LossScalingState,
} from "./loss-scaling.js";
import type { Optimizer, OptimizerState } from "./optimizer.js";

/** Settings of {@link trainer}. */
export interface TrainerOptions<P extends Tree, B, M extends Tree> {
  /**
   * What is lowered: takes the parameters and a batch, returns an f32 tensor of one element, or that and a tree of
   * metrics. It is traced once for each structure of batches and must not await or read anything.
   */
  readonly loss: (params: P, batch: B) => Tensor | readonly [Tensor, M];
  /** The rule, with its schedule and groups. */
  readonly optimizer: Optimizer;
  /** Parameters to begin with. The trainer takes them over: read `step.params` from then on. */
  readonly params: P;
  /** Optimizer state to begin with, taken over too; `optimizer.init(params)` by default. */
  readonly optimizerState?: OptimizerState;
  /** Where to train; by default where the parameters lie, or else `cpu()`. */
  readonly device?: Device;
  /** Gradients are scaled down to this norm over all parameters ({@link clipByGlobalNorm}); not by default. */
  readonly clip?: number;
  /**
   * Matrix products of f16 copies ({@link autocast}) with a scaled loss; parameters, moments and all else stay f32. A step
   * whose gradients are not finite changes nothing but the scale and its count, `state.lossScaling.skipped`.
   */
  readonly halfPrecision?: boolean | LossScaling;
  /** Whether each batch's memory is given back after its step; false by default. */
  readonly disposeBatch?: boolean;
}

/** What one step reports, as tensors or as numbers. */
export interface TrainingStep<M, X> {
  /** The loss before the update. */
  readonly loss: X;
  /** Norm of the gradients of all parameters before clipping; only where `clip` is set. */
  readonly gradientNorm?: X;
  /** What the loss returned beside its value; an empty object if nothing. Tensors of several elements become arrays. */
  readonly metrics: M;
}

/** Metrics as numbers, and arrays of them where a metric has several elements. */
export type MetricValues<M extends Tree> = MapTree<M, number>;

/** All that further steps depend on. */
export type TrainerState<P extends Tree> = {
  /** The parameters. */
  readonly params: P;
  /** The optimizer's counter and moments. */
  readonly optimizer: OptimizerState;
  /** Only with `halfPrecision`. */
  readonly lossScaling?: LossScalingState;
};

/** A training step that owns parameters and optimizer state. Steps run in the order in which they are asked for. */
export interface Trainer<P extends Tree, B, M extends Tree> {
  /**
   * One update.
   * @returns Loss and metrics as numbers.
   * @throws DisposedError after `dispose`.
   */
  (batch: B): Promise<TrainingStep<MetricValues<M>, number>>;
  /**
   * One update without waiting for its numbers, which on a GPU takes as long as all the work before.
   * @returns Loss and metrics as realized tensors, which are the caller's to read and dispose.
   */
  unread(batch: B): Promise<TrainingStep<M, Tensor>>;
  /** The parameters, realized from the first step on. The next step overwrites them. */
  readonly params: P;
  /** Parameters and optimizer state; to keep them, read or save them before the next step, which overwrites them. */
  readonly state: TrainerState<P>;
  /**
   * Goes on from another state, of the same form, after the steps asked for so far. The trainer takes it over.
   * @throws TypeError or ShapeError if something in it is missing or of another shape.
   */
  restore(state: TrainerState<P>): Promise<void>;
  /** The kernels of a step on such a batch, as `explain` prints them. */
  explain(batch: B): Promise<string>;
  /** Gives the memory of parameters and optimizer state back, after the steps asked for so far. */
  dispose(): void;
  /** The end of a `using` block disposes. */
  [Symbol.dispose](): void;
}

const SETTINGS = {
  loss: "own",
  optimizer: "own",
  params: "own",
  optimizerState: "own",
  device: "own",
  clip: { above: 0, to: Infinity },
  halfPrecision: "own",
  disposeBatch: "flag",
} as const;

const isOptimizer = (given: Partial<Optimizer> | undefined): boolean =>
  typeof given?.init === "function" && typeof given.update === "function";

/**
 * Makes the training step of a loss. It compiles loss, gradient, clipping and update into one call, keeps parameters and
 * optimizer state on the device, updates them in place and gives back what is no longer needed.
 *
 * ```ts
 * const step = trainer({ loss, optimizer: adamw({ learningRate: 1e-3 }), params, clip: 1 });
 * for (const batch of batches) console.log((await step(batch)).loss);
 * ```
 *
 * @returns The step, with the parameters as `step.params`.
 */
export function trainer<P extends Tree, B, M extends Tree = Record<string, never>>(
  options: TrainerOptions<P, B, M>,
): Trainer<P, B, M> {
  assertTrainer(options);
  const { optimizer, params, optimizerState, device, disposeBatch = false } = options;
  const where = device && { device };
  const fresh = optimizer.init(params);
  if (optimizerState !== undefined) assertFits({ params, optimizer: fresh }, optimizerState);
  const advance = compile(updateOf(options), { ...where, donate: [0] });
  const scaling = scalingOf(options);
  let state: TrainerState<P> = {
    params,
    optimizer: optimizerState ?? fresh,
    ...(scaling && { lossScaling: initLossScaling(scaling) }),
  };
  let [realized, disposed] = [false, false];

  let last: Promise<unknown> = Promise.resolve();
  let pending = 0;
  /** Runs work behind what was asked for before. */
  const inOrder = async <T>(work: () => Promise<T>): Promise<T> => {
    assertOpen(disposed);
    pending++;
    const run = last.then(work);
    last = run.catch(() => undefined);
    try {
      return await run;
    } finally {
      if (--pending === 0 && disposed) dispose(state as Tree);
    }
  };

  const unread = (batch: B): Promise<TrainingStep<M, Tensor>> =>
    inOrder(async () => {
      if (!realized) keep(await realize(state as Tree, { ...where }));
      realized = true;
      const [after, report] = await advance(state, batch);
      state = keep(after);
      if (disposeBatch) dispose(tensorsIn(batch));
      return report as unknown as TrainingStep<M, Tensor>;
    });
  const step = async (batch: B): Promise<TrainingStep<MetricValues<M>, number>> => {
    const report = await unread(batch);
    const values = await read(report as unknown as Tree);
    dispose(report as unknown as Tree);
    return values as TrainingStep<MetricValues<M>, number>;
  };
  const restore = (from: TrainerState<P>): Promise<void> =>
    inOrder(async () => {
      const after = matching(state, from);
      keep(await realize(after as Tree, { ...where }));
      realized = true;
      const kept = new Set(leavesOf(after));
      dispose(leavesOf(state).filter((x) => !kept.has(x)));
      state = after;
    });
  const close = (): void => {
    if (!disposed && pending === 0) dispose(state as Tree);
    disposed = true;
  };
  return Object.defineProperties(
    Object.assign(step, {
      unread,
      restore,
      explain: (batch: B) => advance.explain(state, batch),
      dispose: close,
      [Symbol.dispose]: close,
    }),
    { params: { get: () => state.params }, state: { get: () => state } },
  ) as Trainer<P, B, M>;
}

function assertTrainer<P extends Tree, B, M extends Tree>(options: TrainerOptions<P, B, M>): void {
  assertSettings("trainer", options, SETTINGS);
  const { optimizer, params, halfPrecision = false } = options;
  if (typeof options.loss !== "function" || !isOptimizer(optimizer))
    throw new TypeError(
      `trainer: expected loss, a function of parameters and a batch, and optimizer, such as adamw({ learningRate: 1e-3 }), got ${typeof options.loss} and ${typeof optimizer}; set both`,
    );
  if (typeof halfPrecision !== "object")
    assertOneOf("trainer", "halfPrecision, an object with scale and interval, or", halfPrecision, [true, false]);
  // An error where there is no tree of parameters.
  leavesOf(params as Tree);
}

function assertFits<P extends Tree>(fresh: TrainerState<P>, optimizer: OptimizerState): void {
  assertFields("trainer, optimizerState", optimizer, { step: "tensor" });
  matching(fresh, { ...fresh, optimizer });
}

/** How the loss is scaled, if it is. */
const scalingOf = ({
  halfPrecision,
}: Pick<TrainerOptions<Tree, unknown, Tree>, "halfPrecision">): LossScaling | undefined =>
  halfPrecision === true ? {} : halfPrecision || undefined;

/** Loss, gradient, clipping and update as one function of the state and a batch. */
function updateOf<P extends Tree, B, M extends Tree>(options: TrainerOptions<P, B, M>) {
  const { loss, optimizer, clip } = options;
  const scaling = scalingOf(options);
  const own = (params: P, batch: B): readonly [Tensor, Tree] => {
    const result = loss(params, batch);
    return result instanceof Tensor ? [result, {}] : result;
  };
  const inner = scaling ? (autocast(own as never) as typeof own) : own;
  const lossAndGradient = valueAndGradAux(
    (params: P, batch: B, scale: Tensor | undefined): readonly [Tensor, readonly [Tensor, Tree]] => {
      const [value, metrics] = inner(params, batch);
      return [scale ? mul(value, scale) : value, [value, metrics]];
    },
  );
  return (state: TrainerState<P>, batch: B): readonly [TrainerState<P>, Record<string, Tree>] => {
    const { lossScaling } = state;
    const [, given, [value, metrics]] = lossAndGradient(state.params, batch, lossScaling?.scale);
    const [gradients, finite]: readonly [P, Tensor?] = lossScaling ? unscaled<P>(given, lossScaling) : [given];
    const [clipped, gradientNorm]: readonly [P, Tensor?] =
      clip === undefined ? [gradients] : clipByGlobalNorm<P>(gradients, clip);
    const [params, after] = optimizer.update(clipped, state.optimizer, state.params);
    const report = { loss: value, ...(gradientNorm && { gradientNorm }), metrics };
    if (!lossScaling || !finite) return [{ params, optimizer: after }, report];
    return [
      {
        params: chosenTree(finite, params, state.params),
        optimizer: chosenTree(finite, after, state.optimizer),
        lossScaling: nextLossScaling(lossScaling, finite, scaling),
      },
      report,
    ];
  };
}

/** The tree with numbers in the place of its tensors, and arrays of them where there are several. */
async function read(tree: Tree): Promise<unknown> {
  if (tree instanceof Tensor) return tree.size === 1 ? tree.item() : [...(await tree.data())];
  if (Array.isArray(tree)) return Promise.all(tree.map((each: Tree) => read(each)));
  const entries = Object.entries(tree as Record<string, Tree>);
  return Object.fromEntries(await Promise.all(entries.map(async ([name, each]) => [name, await read(each)] as const)));
}

/** Tensors of a batch, whatever else is in it. */
function tensorsIn(batch: unknown): Tensor[] {
  if (batch instanceof Tensor) return [batch];
  return typeof batch === "object" && batch !== null ? Object.values(batch).flatMap(tensorsIn) : [];
}

/** The tensors of `from` in the form of `state`. */
function matching<P extends Tree>(state: TrainerState<P>, from: TrainerState<P>): TrainerState<P> {
  const found: Tensor[] = [];
  mapTree(
    (x, path, other) => {
      if (x.dtype !== other!.dtype || x.shape.join() !== other!.shape.join())
        throw new ShapeError(
          `trainer: expected ${x.toString()} at "${path}", got ${other!.toString()}; restore the state of a trainer of the same parameters and optimizer`,
        );
      found.push(other!);
      return x;
    },
    state as Tree,
    from as Tree,
  );
  return replaceLeaves(state as Tree, found) as TrainerState<P>;
}

function assertOpen(disposed: boolean): void {
  if (disposed) throw new DisposedError("trainer: expected a live trainer, got one that was disposed; make a new one");
}
