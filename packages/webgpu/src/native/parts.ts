/** Programs over windows of operands that exceed what a pass may bind, one behind the other as one program. */
import { bytesOf, widthOf, WINDOW_ALIGNMENT, type GpuProgram, type GpuWindow } from "@seqmix/tensor/wgsl";

const STEP = WINDOW_ALIGNMENT / 4;

export type Stored = "f32" | "f16";

/** A program of a sequence; its buffers other than scratch are windows of the whole's. */
export interface Part {
  readonly program: GpuProgram;
  readonly buffers: readonly { readonly buffer: number; readonly window: GpuWindow }[];
}

/**
 * The parts as one program.
 * @param buffers Of the whole.
 * @param scratch Blocks of the whole that parts name as further buffers; blocks that parts share come after them.
 */
export function joined(name: string, buffers: number, parts: readonly Part[], scratch: readonly number[]): GpuProgram {
  const shared: number[] = [];
  const passes = parts.flatMap(({ program, buffers: own }) => {
    program.scratch.forEach((bytes, k) => (shared[k] = Math.max(shared[k] ?? 0, bytes)));
    return program.passes.map((pass) => ({
      ...pass,
      buffers: pass.buffers.map((binding) => {
        const whole = own[binding.buffer];
        if (!whole) {
          const block = binding.buffer - own.length;
          return {
            ...binding,
            buffer: buffers + scratch.length + block,
            window: binding.window ?? { from: 0, bytes: program.scratch[block]! },
          };
        }
        return {
          ...binding,
          buffer: whole.buffer,
          window: binding.window
            ? { from: whole.window.from + binding.window.from, bytes: binding.window.bytes }
            : whole.window,
        };
      }),
    }));
  });
  return {
    name: `${name} in ${parts.length} parts, the first: ${parts[0]!.program.name}`,
    passes,
    scratch: [...scratch, ...shared],
  };
}

/** Of `extent` lines of `line` elements, how many make about half and end at an aligned place; undefined if none do. */
export function half(extent: number, line: number): number | undefined {
  let step = STEP;
  while (step > 1 && ((step / 2) * line) % STEP === 0) step /= 2;
  const lines = Math.ceil(extent / 2 / step) * step;
  return lines < extent ? lines : undefined;
}

export const windowOf = (from: number, size: number, dtype: Stored = "f32"): GpuWindow => ({
  from: from * widthOf(dtype),
  bytes: bytesOf(size, dtype),
});
