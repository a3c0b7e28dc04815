/** The program of a recurrence whose channels threads share: loaded for the first that is large enough. */
import type { ScanKernel } from "@seqmix/tensor/backend";
import { bytesOf, type GpuPass, type GpuProgram } from "@seqmix/tensor/wgsl";
import { lanesForward } from "./lanes-forward.js";
import { lanesGradient } from "./lanes-gradient.js";
import { lanesOf } from "./lanes.js";
import type { Group } from "./layout.js";
import type { Buffers } from "./scope.js";
import { inRows, tailPasses } from "./tails.js";
import type { Tuning } from "./tuning.js";

/** Undefined where a kernel has no such form, or a pass of it would bind more buffers than it may. */
export function lanesProgram(given: ScanKernel, tuning: Tuning, maxBuffers: number): GpuProgram | undefined {
  const forms = lanesOf(given, tuning);
  if (!forms) return undefined;
  const { results, starts } = forms;
  const { layout, round } = results;
  const { kernel, groups, rows, L, W } = layout;
  const scratch: number[] = [];
  const first = kernel.inputs.length + kernel.outputs.length;
  const block = (elements: number): number => first + scratch.push(bytesOf(elements)) - 1;
  const buffers: Buffers = { outputs: kernel.inputs.length, ends: -1, decays: -1, adjoints: -1, partials: -1 };
  const passes: GpuPass[] = [];
  const name = `fused scan [${kernel.extents.join()}] along ${kernel.along}, ${results.lanes} threads a channel, rounds of ${round}, ${W} threads`;
  if (!starts) passes.push(lanesForward(results, groups, buffers));
  else {
    const kept = block((L / round) * rows);
    const offsets = new Map<Group, number>();
    let count = 0;
    for (const group of groups) {
      if (group.direct || group.finished) continue;
      offsets.set(group, count);
      count += group.sums.length * group.partials * group.keptSize;
    }
    const own = { ...buffers, partials: count > 0 ? block(count) : -1 };
    passes.push(
      lanesForward(starts, [], own, { buffer: kept, every: round }),
      lanesGradient(results, offsets, own, kept),
    );
    for (const group of groups)
      if (!group.direct && !group.finished)
        passes.push(
          ...tailPasses(
            layout,
            group,
            inRows(layout, group, offsets.get(group)!, count, own),
            own,
            maxBuffers,
            scratch,
          ),
        );
  }
  return passes.every((pass) => pass.buffers.length <= maxBuffers) ? { name, passes, scratch } : undefined;
}
