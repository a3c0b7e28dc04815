/** A recurrence in chunks, and behind it step by step, whose passes do nothing where the chunks say what it does. */
import { checked, checkLoop, chunkChecks } from "@seqmix/tensor/backend";
import {
  argumentsOf,
  declare,
  entryOf,
  entryPoint,
  withoutEntry,
  type GpuPass,
  type GpuProgram,
} from "@seqmix/tensor/wgsl";
import type { Build } from "./build.js";
import type { Chunks } from "./layout.js";

/** Bytes beside the chunks' own that are no matter, and the share of theirs that may be taken beyond. */
const LEAST_BYTES = 64 * 2 ** 20,
  SHARE = 0.1;

/**
 * Appends what the recurrence needs beside its chunks, if anything. Where step by step it would need much more memory than in
 * chunks, nothing is looked at, and what chunks cannot say is no number.
 * @param stepByStep The recurrence as a scan, if that fits what a pass may bind.
 */
export function appendInstead(build: Build, chunks: Chunks, stepByStep: () => GpuProgram | undefined): void {
  const { parts, passes, scratch, block } = build;
  const { kernel } = parts.form;
  const checks = chunkChecks(parts, chunks.Q);
  const program = checks.length > 0 ? stepByStep() : undefined;
  if (!program) return;
  const first = kernel.inputs.length + kernel.outputs.length;
  const blocks = placed(program.scratch, scratch);
  const more = total(program.scratch.filter((_, k) => blocks[k] === undefined));
  if (more > Math.max(LEAST_BYTES, SHARE * total(scratch))) return;
  const flags = checks.map(() => block(1));
  checks.forEach((check, k) => {
    const { of } = check;
    const isResult = "layout" in of;
    const { buffer, index } = (isResult ? chunks.results.get(of) : chunks.operands.get(of))!;
    const size = isResult
      ? of.layout.size
      : "input" in of.from
        ? kernel.inputs[of.from.input]!.size
        : of.from.layout.size;
    const array = checked(check, index, size, kernel.extents);
    build.run(checkLoop(array, 0, k === 0), [buffer, ...(k === 0 ? [] : [flags[k - 1]!])], [flags[k]!]);
  });
  const own = program.scratch.map((bytes, k) => (blocks[k] === undefined ? block(bytes / 4) : first + blocks[k]));
  for (const pass of program.passes)
    passes.push(
      unlessZero(
        {
          ...pass,
          buffers: pass.buffers.map((each) => ({
            ...each,
            buffer: each.buffer < first ? each.buffer : own[each.buffer - first]!,
          })),
        },
        flags.at(-1)!,
      ),
    );
}

const total = (sizes: readonly number[]): number => sizes.reduce((sum, bytes) => sum + bytes, 0);

/** For each block that is asked for, the number of one of the chunks' blocks that holds it: they are done with them. */
function placed(asked: readonly number[], given: readonly number[]): readonly (number | undefined)[] {
  const free = given.map((_, k) => k);
  return asked.map((bytes) => {
    const at = free.findIndex((k) => given[k]! >= bytes);
    return at < 0 ? undefined : free.splice(at, 1)[0];
  });
}

/** Workgroups that keep a large GPU busy: a pass of more would take its time to end them, a millisecond for a million. */
const MOST_GROUPS = 4096;

/** The pass with an end to it at once where the first number of a buffer is 0; its workgroups take turns. */
function unlessZero(pass: GpuPass, flag: number): GpuPass {
  const entry = entryOf(pass.code);
  if (!entry) throw new TypeError("webgpu: expected a pass with one entry point to put an end to");
  const own = pass.buffers.length;
  // parameters come behind all buffers
  const code = pass.code.replace(`@binding(${own}) var<uniform>`, `@binding(${own + 1}) var<uniform>`);
  const turns = `if (instead.x == 0.0) { return; }
for (var turn = group; turn < ${pass.groups}u; turn += count.x * count.y) {
  steps(${argumentsOf(entry, "turn")});
${code.includes("var<workgroup>") ? "  workgroupBarrier();\n" : ""}}`;
  return {
    ...pass,
    code: [
      withoutEntry(code, entry, "steps"),
      declare(own, "instead", "uniform", "vec4<f32>"),
      entryPoint(entry.threads, turns, entry.more),
    ].join(""),
    buffers: [...pass.buffers, { buffer: flag, access: "uniform", window: { from: 0, bytes: 16 } }],
    groups: Math.min(pass.groups, MOST_GROUPS),
  };
}
