/** Walks over the lazy graph. */
import type { Call, Tensor } from "./tensor.js";

/** The call a tensor comes from, or undefined for values already there. */
export const callOf = (x: Tensor): Call | undefined => (x.source.kind === "call" ? x.source.call : undefined);

/**
 * Calls behind `roots` in an order in which every call comes after those of its inputs.
 * `inputsOf` may leave inputs out or put others in their place. Iterative: graphs of unrolled loops are deep.
 */
export function sortCalls(
  roots: readonly Tensor[],
  inputsOf: (call: Call) => readonly Tensor[] = (call) => call.inputs,
): Call[] {
  const order: Call[] = [];
  const entered = new Set<Call>();
  const stack: { call: Call; inputs: readonly Tensor[]; next: number }[] = [];
  const enter = (x: Tensor): void => {
    const call = callOf(x);
    if (!call || entered.has(call)) return;
    entered.add(call);
    stack.push({ call, inputs: inputsOf(call), next: 0 });
  };
  for (const root of roots) {
    enter(root);
    while (stack.length > 0) {
      const top = stack.at(-1)!;
      if (top.next < top.inputs.length) enter(top.inputs[top.next++]!);
      else order.push(stack.pop()!.call);
    }
  }
  return order;
}
