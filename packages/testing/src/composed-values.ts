/** Right values and slopes of functions that are composed of rows, at the arguments of the table of elementwise rows. */
import { ceil, expm1OverX, gelu, geluTanh, relu, round, sign, silu, square, type Tensor } from "@seqmix/tensor";
import { SPECIAL } from "@seqmix/tensor/backend";

const { POSITIVE_INFINITY: inf } = Number;
const NONE = NaN;
const [TINY, MAX] = [SPECIAL[4]!, SPECIAL[6]!];

/** Name, function, values and slopes at 0, -0, 1, -1, the smallest and the largest numbers, infinities, NaN; undefined: a number within -1 and 1. */
type Row = readonly [
  name: string,
  f: (x: Tensor) => Tensor,
  values: readonly (number | undefined)[],
  slopes?: readonly (number | undefined)[],
];

export const COMPOSED: readonly Row[] = [
  [
    "square",
    square,
    [0, 0, 1, 1, 0, 0, inf, inf, inf, inf, NONE],
    [0, 0, 2, -2, 2 * TINY, -2 * TINY, inf, -inf, inf, -inf, NONE],
  ],
  // at the corner half, as a maximum of equals
  ["relu", relu, [0, 0, 1, 0, TINY, 0, MAX, 0, inf, 0, NONE], [0.5, 0.5, 1, 0, 1, 0, 1, 0, 1, 0, 0]],
  // 0 times -infinity is no number, as in PyTorch
  [
    "silu",
    silu,
    [0, 0, 0.7310585786, -0.2689414214, 0, 0, MAX, 0, inf, NONE, NONE],
    [0.5, 0.5, 0.9276705118, 0.0723294882, 0.5, 0.5, 1, 0, NONE, NONE, NONE],
  ],
  [
    "gelu",
    gelu,
    [0, 0, 0.8413447461, -0.1586552539, 0, 0, MAX, 0, inf, NONE, NONE],
    [0.5, 0.5, 1.083315471, -0.0833154706, 0.5, 0.5, 1, 0, NONE, NONE, NONE],
  ],
  [
    "geluTanh",
    geluTanh,
    [0, 0, 0.8411919906, -0.1588080094, 0, 0, MAX, 0, inf, NONE, NONE],
    [0.5, 0.5, 1.0829640838, -0.0829640838, 0.5, 0.5, 1, 0, undefined, undefined, NONE],
  ],
  ["sign", sign, [0, 0, 1, -1, 1, -1, 1, -1, 1, -1, NONE]],
  ["ceil", ceil, [0, 0, 1, -1, 1, 0, MAX, -MAX, inf, -inf, NONE]],
  ["round", round, [0, 0, 1, -1, 0, 0, MAX, -MAX, inf, -inf, NONE]],
  ["expm1OverX", expm1OverX, [1, 1, Math.E - 1, 1 - 1 / Math.E, 1, 1, inf, 0, inf, 0, NONE]],
];
