/** Building what parameters stand for once, however often a step asks for it. */
import { outsideScopes } from "@seqmix/tensor";

/**
 * f(config, parameters), built once for each pair of objects and kept as long as these are: the steps of a sequence then share
 * what does not depend on the input, such as the inverse of a discretization.
 */
export function oncePerParameters<C extends object, P extends object, T>(
  f: (config: C, parameters: P) => T,
): (config: C, parameters: P) => T {
  const known = new WeakMap<P, WeakMap<C, { readonly value: T }>>();
  return (config, parameters) => {
    let byConfig = known.get(parameters);
    if (!byConfig) known.set(parameters, (byConfig = new WeakMap()));
    let entry = byConfig.get(config);
    if (!entry) byConfig.set(config, (entry = { value: outsideScopes(() => f(config, parameters)) }));
    return entry.value;
  };
}
