/**
 * Values that several calls use, all of which are computed at the same point of one kernel: a product of which a gate's
 * gradient is made, say. They need no memory, whatever they are made of.
 */
import type { Call, Tensor } from "../graph/tensor.js";

/**
 * @param often Values of which it is open whether they have memory: what is used by one may be computed in many places.
 * @param stored What has memory, or is computed in some other way.
 */
export function inOnePlace(
  calls: readonly Call[],
  users: ReadonlyMap<Tensor, readonly Call[]>,
  often: ReadonlySet<Tensor>,
  stored: (x: Tensor) => boolean,
): Set<Tensor> {
  const found = new Set<Tensor>();
  // The call whose kernel, or the movement behind which, all that is made of a value is computed; undefined: there are several.
  const places = new Map<Tensor, Call | undefined>();
  const placeOf = (user: Call): Call | undefined => {
    const y = user.outputs[0]!;
    const { kind } = user.op.rule;
    if (user.op.name === "broadcast") return undefined;
    if (stored(y)) return user;
    if (kind === "elementwise") return places.get(y);
    // Behind a movement the point is another.
    return kind === "movement" || kind === "concat" || kind === "gather" ? places.get(y) && user : user;
  };
  for (let k = calls.length - 1; k >= 0; k--) {
    const x = calls[k]!.outputs[0]!;
    const all = (users.get(x) ?? []).map(placeOf);
    const place = all.length > 0 && all.every((each) => each === all[0]) ? all[0] : undefined;
    if (often.has(x) && place) found.add(x);
    places.set(x, often.has(x) && !place ? undefined : place);
  }
  return found;
}
