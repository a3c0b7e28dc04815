/** Gradient clipping. */
import {
  add,
  assertNumber,
  cast,
  div,
  isReal,
  leavesOf,
  mapTree,
  minimum,
  mul,
  sqrt,
  square,
  sum,
  zeros,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";

/** Root of the sum of squares of all f32 and f16 elements of a tree, f32 []. */
export function globalNorm(tree: Tree): Tensor {
  const squares = leavesOf(tree).flatMap((x) => (isReal(x.dtype) ? [sum(square(cast(x, "f32")))] : []));
  return sqrt(squares.length === 0 ? zeros([]) : squares.reduce((total, x) => add(total, x)));
}

/**
 * The tree times min(1, maxNorm / (norm + 1e-6)), as PyTorch's clip_grad_norm_ does (Pascanu et al., 2013).
 * @returns The scaled tree and the norm before, f32 [].
 */
export function clipByGlobalNorm<T extends Tree>(tree: T, maxNorm: number): readonly [T, Tensor] {
  assertNumber("clipByGlobalNorm", "maxNorm", maxNorm, { above: 0, to: Infinity });
  const norm = globalNorm(tree);
  const scale = minimum(div(maxNorm, add(norm, 1e-6)), 1);
  return [mapTree((x) => (isReal(x.dtype) ? cast(mul(cast(x, "f32"), scale), x.dtype) : x), tree), norm];
}
