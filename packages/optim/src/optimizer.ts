/** What all optimizers share: the form of their state, and groups of parameters with settings of their own. */
import {
  assertSettings,
  DTypeError,
  leavesOf,
  mapTree,
  replaceLeaves,
  ShapeError,
  zeros,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";

/** A step counter and moments; each moment has the form of the parameters. */
export type OptimizerState = {
  /** Updates made, i32 []. */
  readonly step: Tensor;
  readonly [moment: string]: Tree;
};

/** A rule that turns gradients into new parameters. All values are lazy; realize them together and donate the old ones. */
export interface Optimizer {
  /** The state before the first update. */
  init(params: Tree): OptimizerState;
  /**
   * One update. Leaves that are not f32 stay as they are.
   * @param gradients A tree of the form of `params`.
   * @returns New parameters and the state after the update.
   */
  update<P extends Tree>(gradients: P, state: OptimizerState, params: P): readonly [P, OptimizerState];
}

/** Settings for the parameters whose path, e.g. "layers.0.mixer.A_log", matches. The first group that matches counts. */
export interface ParameterGroup {
  /** Tested on the path; anchor it, e.g. /\\.bias$/. */
  readonly match: RegExp;
  /** In place of the optimizer's weight decay. */
  readonly weightDecay?: number;
  /** Factor of the learning rate; 1 by default. */
  readonly learningRateScale?: number;
}

/** The settings of one parameter. */
export interface ParameterSettings {
  readonly weightDecay: number;
  readonly learningRateScale: number;
}

/** The settings of the parameter at a path. */
export function settingsOf(path: string, groups: readonly ParameterGroup[], weightDecay: number): ParameterSettings {
  // search() ignores lastIndex, so a pattern with the g flag matches alike every time.
  const group = groups.find(({ match }) => path.search(match) >= 0);
  return { weightDecay: group?.weightDecay ?? weightDecay, learningRateScale: group?.learningRateScale ?? 1 };
}

/** Zeros of the form of the parameters. */
export const zerosLike = (params: Tree): Tree =>
  replaceLeaves(
    params,
    leavesOf(params).map((x) => zeros(x.shape, x.dtype)),
  );

/**
 * Applies a rule to every f32 parameter; those of integers and truth values stay.
 * @param rule Takes the path, then parameter, gradient and moments; returns the new parameter and moments.
 * @returns The new trees in the same order: parameters, then moments.
 * @throws DTypeError for f16 parameters.
 */
export function updateLeaves<P extends Tree>(
  params: P,
  gradients: P,
  moments: readonly (Tree | undefined)[],
  rule: (path: string, ...leaves: Tensor[]) => readonly Tensor[],
): readonly [P, ...Tree[]] {
  const results: Tensor[][] = [params, ...moments].map(() => []);
  const present = new Set(namesOf(params));
  for (const tree of [gradients, ...moments]) {
    const found = new Set(namesOf(tree ?? {}));
    for (const path of present)
      if (!found.has(path))
        throw new TypeError(
          `update: expected "${path}" in the gradients and in the state, got none; pass gradients of these parameters and the state that init made for them`,
        );
  }
  // By name: the keys of a state that was read from a file may be in another order.
  mapTree(
    (parameter, path, ...others) => {
      if (others[0]!.shape.join() !== parameter.shape.join())
        throw new ShapeError(
          `update: expected a gradient [${parameter.shape.join(",")}] for "${path}", got [${others[0]!.shape.join(",")}]; pass gradients of these parameters`,
        );
      if (parameter.dtype === "f16")
        throw new DTypeError(
          `update: expected f32 for "${path}", got f16, in which small steps are lost; keep parameters in f32 and cast them where they are used`,
        );
      const updated = parameter.dtype === "f32" ? rule(path, parameter, ...others) : [parameter, ...others.slice(1)];
      updated.forEach((leaf, k) => results[k]!.push(leaf));
      return parameter;
    },
    params as Tree,
    gradients,
    ...moments.map((tree) => tree ?? {}),
  );
  return results.map((leaves) => replaceLeaves(params as Tree, leaves)) as unknown as readonly [P, ...Tree[]];
}

function namesOf(tree: Tree): string[] {
  const names: string[] = [];
  mapTree((leaf, path) => {
    names.push(path);
    return leaf;
  }, tree);
  return names;
}

/** @throws TypeError for a setting that does not exist, or a learning rate that is missing. */
export function assertOptimizer<T extends { readonly learningRate: unknown }>(
  optimizer: string,
  given: T,
  known: readonly (keyof T & string)[],
): void {
  const named = Object.keys(given ?? {}).find((name) => /^(lr|learning_rate|rate)$/i.test(name));
  if (named !== undefined)
    throw new TypeError(`${optimizer}: expected settings out of ${known.join(", ")}, got ${named}; write learningRate`);
  assertSettings(optimizer, given, known);
  const { learningRate } = given;
  if (typeof learningRate !== "number" && typeof learningRate !== "function")
    throw new TypeError(
      `${optimizer}: expected learningRate, a number or a function of the step, got ${String(learningRate)}; set it`,
    );
  const { groups = [] } = given as { readonly groups?: readonly ParameterGroup[] };
  if (!Array.isArray(groups))
    throw new TypeError(
      `${optimizer}: expected groups, a list of { match, ... }, got something else; put it into a list`,
    );
  for (const group of groups as readonly ParameterGroup[]) {
    assertSettings(`${optimizer}, groups`, group, ["match", "weightDecay", "learningRateScale"]);
    if (!(group.match instanceof RegExp))
      throw new TypeError(
        `${optimizer}, groups: expected match, a regular expression for paths, got ${String(group.match)}; write /name$/`,
      );
    assertRange(`${optimizer}, groups`, "weightDecay", group.weightDecay ?? 0, 0);
    assertRange(`${optimizer}, groups`, "learningRateScale", group.learningRateScale ?? 1, 0);
  }
}

/** @throws RangeError if a value lies outside low <= value < high. */
export function assertRange(optimizer: string, name: string, value: number, low: number, high = Infinity): void {
  if (typeof value !== "number" || !(value >= low && value < high))
    throw new RangeError(
      `${optimizer}: expected ${name} of at least ${low}${high < Infinity ? ` and below ${high}` : ""}, got ${value}`,
    );
}
