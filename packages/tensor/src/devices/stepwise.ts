/** Realizing in debug mode: call by call, and the first value that is not finite is an error. */
import type { Device } from "./device.js";
import { isReal } from "../graph/dtype.js";
import { NumericError } from "../graph/errors.js";
import { sortCalls } from "../graph/calls.js";
import { own } from "./placement.js";
import { assertIndices, type IndexCheck } from "../ops/gather.js";
import type { Graph } from "../plan/signature.js";
import { formatShape } from "../graph/shape.js";
import type { Tensor } from "../graph/tensor.js";

/**
 * Realizes every call by itself, in order, and stops at the first value that is not finite. Infinite constants (those of masks, say)
 * are meant, and what they lead to is no error unless it is NaN.
 * @param graphOn The graph behind tensors, its leaves checked to be on the device.
 */
export async function realizeStepwise(
  device: Device,
  roots: readonly Tensor[],
  graphOn: (open: readonly Tensor[]) => Graph,
): Promise<void> {
  const infinite = new Set<Tensor>();
  for (const call of sortCalls(roots)) {
    const open = call.outputs.filter((x) => x.source.kind === "call");
    if (open.length === 0) continue;
    const buffers = await device.run(graphOn(open), { donated: [], fuse: false });
    for (const [k, x] of open.entries()) {
      own(x, device, buffers[k]!);
      const check = call.op.name === "identity" ? (call.attributes as IndexCheck | undefined) : undefined;
      if (check) assertIndices(await device.download(buffers[k]!), check);
      if (!isReal(x.dtype)) continue;
      const values = await device.download(buffers[k]!);
      const none = values.findIndex((value) => Number.isNaN(value));
      const at = none >= 0 ? none : values.findIndex((value) => !Number.isFinite(value));
      const isConstant = call.inputs.length === 0;
      if (at >= 0 && (isConstant || (none < 0 && call.inputs.some((input) => infinite.has(input))))) infinite.add(x);
      else if (at >= 0)
        throw new NumericError(
          `${call.op.name}: expected finite values, got ${values[at]} at element ${at} of ${formatShape(x.shape)}${call.line ? `, made at ${call.line}` : "; switch debug mode on before building the graph to see the line"}`,
        );
    }
  }
}
