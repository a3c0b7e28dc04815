/** Whether decays are at most 1 in size, as their expressions show. Products of others may leave the range of f32 though no state does. */
import type { Scalar } from "./loop.js";
import type { ScanValue } from "./scan-kernel.js";

/** Bounds of a value that is not NaN. */
interface Bounds {
  readonly low: number;
  readonly high: number;
}

const ANY: Bounds = { low: -Infinity, high: Infinity };

/** Whether the decay is at most 1 in size wherever it is a number. */
export function isAtMostOne(decay: ScanValue): boolean {
  const boundsOf = bounding();
  const within = (node: Scalar): boolean => size(boundsOf(node)).high <= 1;
  const [re, im] = decay;
  if (im === undefined) return within(re);
  // r cos x + i r sin x
  if (re.op !== "mul" || im.op !== "mul") return false;
  return re.args.some((r, k) => {
    const at = im.args.indexOf(r);
    if (at < 0 || !within(r)) return false;
    const [cosine, sine] = [re.args[1 - k]!, im.args[1 - at]!];
    return cosine.op === "cos" && sine.op === "sin" && cosine.args[0] === sine.args[0];
  });
}

function bounding(): (node: Scalar) => Bounds {
  const known = new Map<Scalar, Bounds>();
  const boundsOf = (node: Scalar): Bounds => {
    let bounds = known.get(node);
    if (bounds === undefined) known.set(node, (bounds = find(node)));
    return bounds;
  };
  const find = (node: Scalar): Bounds => {
    if (node.op === "constant") return { low: node.value, high: node.value };
    if (node.dtype === "bool") return { low: 0, high: 1 };
    if (node.op === "guard") return union(boundsOf(node.value), { low: node.fill, high: node.fill });
    return "args" in node ? ofFunction(node, boundsOf) : ANY;
  };
  return boundsOf;
}

function ofFunction(node: Scalar & { readonly args: readonly Scalar[] }, boundsOf: (node: Scalar) => Bounds): Bounds {
  const [x, y, z] = node.args.map(boundsOf) as [Bounds, Bounds, Bounds];
  switch (node.op) {
    case "exp":
      return { low: Math.exp(x.low), high: Math.exp(x.high) };
    case "log1p":
      return x.low >= 0 ? { low: 0, high: Infinity } : ANY;
    case "sigmoid":
      return { low: 0, high: 1 };
    case "tanh":
    case "sin":
    case "cos":
      return { low: -1, high: 1 };
    case "sqrt":
      return { low: 0, high: Math.sqrt(Math.max(0, x.high)) };
    case "neg":
      return { low: -x.high, high: -x.low };
    case "abs":
      return size(x);
    case "add":
      return { low: x.low + y.low, high: x.high + y.high };
    case "sub":
      return { low: x.low - y.high, high: x.high - y.low };
    case "mul":
      return node.args[0] === node.args[1] ? square(x) : times(x, y);
    case "min":
      return { low: Math.min(x.low, y.low), high: Math.min(x.high, y.high) };
    case "max":
      return { low: Math.max(x.low, y.low), high: Math.max(x.high, y.high) };
    case "where":
      return union(y, z);
    case "roundToHalf":
    case "cast":
      return x;
    default:
      return ANY;
  }
}

const union = (x: Bounds, y: Bounds): Bounds => ({ low: Math.min(x.low, y.low), high: Math.max(x.high, y.high) });

const size = ({ low, high }: Bounds): Bounds => ({
  low: Math.max(0, low, -high),
  high: Math.max(Math.abs(low), Math.abs(high)),
});

const square = (x: Bounds): Bounds => ({ low: size(x).low ** 2, high: size(x).high ** 2 });

/** 0 times infinity, which is no number of the product, counts as 0. */
function times(x: Bounds, y: Bounds): Bounds {
  const corners = [x.low * y.low, x.low * y.high, x.high * y.low, x.high * y.high].map((p) =>
    Number.isNaN(p) ? 0 : p,
  );
  return { low: Math.min(...corners), high: Math.max(...corners) };
}
