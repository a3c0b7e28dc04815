/** Programs over axes of extent 0 and 1, where shortcuts of planners and renderers meet. */
import {
  add,
  argmax,
  arange,
  broadcastTo,
  cast,
  concat,
  cumsum,
  div,
  einsum,
  exp,
  expandDims,
  flip,
  full,
  gather,
  grad,
  iota,
  key,
  leavesOf,
  less,
  linearScan,
  logSoftmax,
  logSumExp,
  matmul,
  max,
  mean,
  mul,
  normal,
  ones,
  pad,
  pick,
  reshape,
  scatterAdd,
  sin,
  slice,
  sliceAxis,
  softmax,
  split,
  sqrt,
  square,
  stack,
  strided,
  sub,
  sum,
  tensor,
  transpose,
  uniform,
  variance,
  where,
  reference,
  zeros,
  type Device,
  type Shape,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import { assertClose, attempt, toleranceOfScale } from "./compare.js";
import { evaluate } from "./host-values.js";

/** Values in -2..2, the same for a name and shape. */
const values = (name: number, shape: Shape): Tensor => {
  const size = shape.reduce((a, b) => a * b, 1);
  return tensor(
    Float32Array.from({ length: size }, (_, k) => Math.fround(2 * Math.sin(1 + 7 * name + 3 * k))),
    shape,
  );
};
const integers = (list: readonly number[], shape: Shape = [list.length]): Tensor =>
  tensor(Int32Array.from(list), shape);
const none = (...shape: number[]): Tensor => values(0, shape);

const standardize = (x: Tensor): Tensor => {
  const centered = sub(x, mean(x, -1, { keepDims: true }));
  return div(centered, sqrt(add(mean(square(centered), -1, { keepDims: true }), 0.1)));
};

/** Gradients of a sum of products with fixed numbers. */
const gradients = (f: (inputs: readonly Tensor[]) => Tensor, ...inputs: Tensor[]): readonly Tensor[] =>
  leavesOf(
    grad((given: readonly Tensor[]) => {
      const y = f(given);
      return sum(mul(y, values(5, y.shape)));
    })(inputs) as Tree,
  );

/** Gradients of the squares of the gradients. */
const twice = (f: (inputs: readonly Tensor[]) => Tensor, ...inputs: Tensor[]): readonly Tensor[] =>
  gradients(
    (given) => gradients(f, ...given).reduce((total: Tensor, g) => add(total, sum(square(g))), zeros([])),
    ...inputs,
  );

const scanOf =
  (reverse: boolean) =>
  ([a, b, h0]: readonly Tensor[]): Tensor =>
    linearScan({ a: sin(a!), b: b!, h0, axis: 0, reverse });

const scans: readonly Shape[] = [
  [1, 1, 1],
  [1, 2, 2],
  [2, 1, 2],
  [3, 2, 1],
  [5, 1, 1],
];

/** Programs by name; each makes its tensors anew. */
export const edgePrograms: Readonly<Record<string, () => readonly Tensor[]>> = {
  "the first of two joined numbers": () => [sliceAxis(concat([values(1, [1]), values(2, [1])], 0), 0, 0, 1)],
  "the last of two joined numbers": () => [sliceAxis(concat([values(1, [1]), values(2, [1])], 0), 0, 1, 2)],
  "one uniform and one normal number": () => [uniform(key(0), [1]), normal(key(0), [1]), uniform(key(1), [1, 1, 1])],
  "the padding alone": () => [
    slice(pad(values(1, [2]), [1], [0], 0.5), [0], [1]),
    slice(pad(values(1, [2]), [0], [1], 0.5), [2], [3]),
    slice(pad(values(1, [1, 1]), [1, 1], [1, 1], 3), [0, 0], [1, 1]),
  ],
  "padding of single elements": () => [
    pad(values(1, [1]), [1], [1], 7),
    pad(values(1, [1, 1]), [0, 2], [1, 0]),
    pad(pad(values(1, [1]), [1], [0]), [0], [1], 2),
  ],
  "an early part of many joined": () => [
    slice(concat([values(1, [1, 2]), values(2, [1, 2]), values(3, [1, 2])], 0), [0, 1], [2, 2]),
    stack([values(1, []), values(2, []), values(3, [])]),
  ],
  "movements of extent 1": () => [
    flip(values(1, [1, 1]), [0, 1]),
    transpose(values(1, [1, 3]), [1, 0]),
    strided(values(1, [1, 5]), { start: [0, 4], step: [3, -4], size: [1, 2] }),
    broadcastTo(values(1, [1, 1]), [1, 3]),
    reshape(values(1, [1, 1, 1]), []),
    ...split(values(1, [2]), [1, 1]),
  ],
  "reductions of extent 1": () => [
    sum(values(1, [1])),
    max(values(1, [1, 1]), 1),
    mean(values(1, [3, 1]), 1),
    variance(values(1, [1, 3]), 0),
    softmax(values(1, [3, 1])),
    logSoftmax(values(1, [1, 1])),
    logSumExp(values(1, [1, 2]), 0),
    cast(argmax(values(1, [2, 1]), 1), "f32"),
    cumsum(values(1, [1]), 0),
    cumsum(values(1, [1, 2]), 0, { exclusive: true }),
    standardize(values(1, [2, 1])),
  ],
  "gradients of extent 1": () => [
    ...gradients(([x]) => softmax(x!), values(1, [1, 1])),
    ...gradients(([x]) => standardize(x!), values(1, [2, 1])),
    ...gradients(([x]) => cumsum(x!, 0), values(1, [1])),
    ...gradients(([x]) => pad(x!, [1], [1]), values(1, [1])),
    ...gradients(([x]) => sliceAxis(x!, 0, 1, 2), values(1, [2])),
    ...gradients(([x]) => gather(x!, integers([0]), 0), values(1, [1, 2])),
    ...gradients(([x]) => pick(x!, integers([0])), values(1, [1, 1])),
    ...gradients(([x, y]) => matmul(x!, y!), values(1, [1, 1]), values(2, [1, 1])),
    ...gradients(([x, y]) => concat([x!, y!], 0), values(1, [1]), values(2, [1])),
  ],
  "products of extent 1": () => [
    matmul(values(1, [1, 1]), values(2, [1, 1])),
    matmul(values(1, [3, 1, 1]), values(2, [1, 1])),
    matmul(values(1, [1, 5]), values(2, [5, 1])),
    einsum("a b, b c -> a c", values(1, [1, 1]), values(2, [1, 1])),
    einsum("a, b -> a b", values(1, [1]), values(2, [1])),
    softmax(matmul(values(1, [1, 2]), values(2, [2, 1]))),
  ],
  "gather and scatter of extent 1": () => [
    gather(values(1, [1]), integers([0, 0]), 0),
    gather(values(1, [1, 1]), integers([-4, 9]), 1),
    scatterAdd(values(1, [1]), integers([0]), 1),
    scatterAdd(values(1, [3, 1]), integers([0, 0, 0]), 1),
  ],
  ...Object.fromEntries(
    scans.flatMap((shape) =>
      [false, true].map((reverse) => [
        `second gradients of a recurrence [${shape.join()}]${reverse ? ", reversed" : ""}`,
        () => twice(scanOf(reverse), values(1, shape), values(2, shape), values(3, shape.slice(1))),
      ]),
    ),
  ),
  ...Object.fromEntries(
    scans.map((shape) => [
      `norm after a recurrence [${shape.join()}]`,
      () => {
        const run = (given: readonly Tensor[]): Tensor => standardize(scanOf(false)(given));
        const inputs = [values(1, shape), values(2, shape), values(3, shape.slice(1))];
        return [run(inputs), ...gradients(run, ...inputs), softmax(scanOf(true)(inputs), 0)];
      },
    ]),
  ),
  "scatter of nothing, gather by no indices": () => [
    scatterAdd(none(0, 3), integers([]), 2),
    scatterAdd(none(0), integers([]), 3),
    scatterAdd(none(2, 0), integers([1, 0]), 3),
    scatterAdd(none(0, 3), integers([], [0]), 0),
    gather(values(1, [3, 2]), integers([]), 0),
    gather(none(0, 2), integers([]), 0),
    ...gradients(([x]) => gather(x!, integers([]), 0), values(1, [3, 2])),
    ...gradients(([x]) => gather(x!, integers([]), 1), values(1, [3, 2])),
    ...gradients(([x]) => scatterAdd(x!, integers([]), 2), none(0, 3)),
  ],
  "products of nothing": () => [
    matmul(none(0, 2), values(1, [2, 3])),
    matmul(values(1, [3, 2]), none(2, 0)),
    matmul(none(3, 0), none(0, 2)),
    matmul(none(7, 64, 0), none(0, 8)),
    matmul(none(0, 3, 2), values(1, [2, 4])),
    matmul(none(0, 3, 2), none(0, 2, 4)),
    add(matmul(none(3, 0), none(0, 2)), 1),
    exp(matmul(transpose(none(0, 3)), none(0, 2))),
    einsum("a b, b c -> a c", none(2, 0), none(0, 3)),
    ...gradients(([x, y]) => matmul(x!, y!), none(0, 2), values(1, [2, 3])),
    ...gradients(([x, y]) => matmul(x!, y!), none(3, 0), none(0, 2)),
    ...gradients(([x, y]) => matmul(x!, y!), none(0, 3, 2), values(1, [2, 4])),
  ],
  "reductions of nothing": () => [
    sum(none(0)),
    sum(none(2, 0), 1),
    sum(none(2, 0), 0),
    max(none(2, 0), 1),
    max(none(0)),
    softmax(none(2, 0)),
    softmax(none(0, 3)),
    logSoftmax(none(2, 0)),
    logSumExp(none(2, 0), 1),
    logSumExp(none(0, 2), 1),
    mean(none(0, 3), 1),
    variance(none(0, 3), 1),
    standardize(none(0, 3)),
    standardize(none(3, 0)),
    cumsum(none(3, 0), 1),
    cumsum(none(0, 3), 1, { exclusive: true }),
    cast(argmax(none(0, 3), 1), "f32"),
    ...gradients(([x]) => softmax(x!), none(2, 0)),
    ...gradients(([x]) => sum(x!), none(0, 2)),
    ...gradients(([x]) => standardize(x!), none(0, 3)),
    ...gradients(([x]) => max(x!, 1), none(0, 3)),
    ...gradients(([x]) => max(x!, 1), none(2, 0)),
  ],
  "elements of nothing": () => [
    mul(sum(values(1, [2])), none(0)),
    mul(none(0, 3), values(1, [3])),
    mul(none(0, 1), values(1, [3])),
    where(less(none(0), 1), none(0), 2),
    concat([none(0, 2), none(0, 2)], 0),
    concat([none(0, 2), values(1, [1, 2])], 0),
    concat([none(2, 0), none(2, 0)], 1),
    reshape(none(0, 3), [3, 0]),
    transpose(none(0, 3)),
    slice(values(1, [3]), [1], [1]),
    pad(none(0), [1], [2], 4),
    pad(none(0, 2), [0, 1], [0, 0]),
    flip(none(0, 2), 0),
    broadcastTo(values(1, [1, 3]), [0, 3]),
    stack([none(0), none(0)]),
    full([0, 2], 3),
    cast(arange(0), "f32"),
    cast(iota([0, 2], 1), "f32"),
    uniform(key(0), [0]),
    normal(key(0), [0, 3]),
    expandDims(none(0), 1),
    ...gradients(([x]) => mul(x!, none(0)), values(1, [])),
    ...gradients(([x]) => broadcastTo(x!, [0, 3]), values(1, [1, 3])),
    ...gradients(([x]) => pad(x!, [1], [2], 4), none(0)),
    ...gradients(([x]) => slice(x!, [1], [1]), values(1, [3])),
    ...gradients(([x, y]) => concat([x!, y!], 0), none(0, 2), values(1, [1, 2])),
  ],
  "recurrences over nothing": () => [
    linearScan({ a: none(0, 2), b: none(0, 2), axis: 0 }),
    linearScan({ a: none(3, 0), b: none(3, 0), axis: 0 }),
    linearScan({ a: none(3, 0), b: none(3, 0), h0: none(0), axis: 0, reverse: true }),
    sum(exp(linearScan({ a: none(0, 2), b: none(0, 2), axis: 0 })), 0),
    ...gradients(([a, b]) => linearScan({ a: a!, b: b!, axis: 0 }), none(0, 2), none(0, 2)),
    ...gradients(([a, b, h0]) => linearScan({ a: a!, b: b!, h0, axis: 0 }), none(3, 0), none(3, 0), none(0)),
    ...gradients(([a, b, h0]) => linearScan({ a: a!, b: b!, h0, axis: 0 }), none(0, 2), none(0, 2), values(1, [2])),
  ],
  "what only nothing wants, beside others": () => {
    const x = mul(values(1, [4]), 3);
    const rows = mul(values(2, [3, 4]), 2);
    return [
      mul(none(0, 4), softmax(x, 0)),
      mul(none(0), sum(x)),
      mul(none(0, 3, 4), standardize(rows)),
      mul(none(0, 1), max(rows, 1)),
      mul(none(0, 3, 3), matmul(rows, transpose(rows))),
      add(x, 1),
      add(rows, 1),
      ...gradients(([y]) => mul(none(0, 4), softmax(y!, 0)), values(1, [4])),
      ...gradients(([y]) => mul(none(0), sum(scatterAdd(y!, integers([0, 1, 0, 1]), 2))), values(1, [4])),
    ];
  },
  "an empty tensor beside others": () => [none(0), mul(values(1, [2]), 2), mul(none(0, 2), 2), ones([0])],
};

/**
 * Compares a program of {@link edgePrograms} on a device, fused and not, with the reference device.
 * @returns How many arrays were compared.
 * @throws LawError naming the program and the worst element.
 */
export async function checkEdges(name: string, device: Device): Promise<number> {
  const build = edgePrograms[name]!;
  // times 1: a result that is a view, or one node under two names, gets memory of its own
  const own = (): readonly Tensor[] => build().map((x) => mul(x, 1));
  const expected = await evaluate(reference(), own);
  for (const fuse of [true, false]) {
    const law = `${name}, ${fuse ? "fused" : "unfused"} on ${device.name} = reference`;
    const actual = await attempt(law, () => evaluate(device, own, { fuse }));
    expected.forEach(({ data, shape }, k) =>
      assertClose(`${law}, result ${k}`, actual[k]!.data, data, toleranceOfScale(data, 2e-5), shape),
    );
  }
  return 2 * expected.length;
}
