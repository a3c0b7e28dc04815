/** A recurrence in chunks, and behind it step by step, whose passes do nothing where the chunks say what it does. */
import { checked, checkLoop, chunkChecks } from "@seqmix/tensor/backend";
import { declare, type GpuPass, type GpuProgram } from "@seqmix/tensor/wgsl";
import type { Build } from "./build.js";
import type { Chunks } from "./layout.js";

/**
 * Appends what the recurrence needs beside its chunks, if anything.
 * @param stepByStep The recurrence as a scan, if that fits what a pass may bind.
 */
export function appendInstead(build: Build, chunks: Chunks, stepByStep: () => GpuProgram | undefined): void {
  const { parts, passes, scratch, block } = build;
  const { kernel } = parts.form;
  const checks = chunkChecks(parts, chunks.Q);
  const program = checks.length > 0 ? stepByStep() : undefined;
  if (!program) return;
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
  const flag = flags.at(-1)!;
  const first = kernel.inputs.length + kernel.outputs.length;
  const free = scratch.map((bytes, k) => ({ bytes, buffer: first + k })).filter(({ buffer }) => buffer !== flag);
  /** Chunks are done with their blocks. */
  const blocks = program.scratch.map((bytes) => {
    const at = free.findIndex((each) => each.bytes >= bytes);
    return at < 0 ? block(bytes / 4) : free.splice(at, 1)[0]!.buffer;
  });
  for (const pass of program.passes)
    passes.push(
      unlessZero(
        {
          ...pass,
          buffers: pass.buffers.map((each) => ({
            ...each,
            buffer: each.buffer < first ? each.buffer : blocks[each.buffer - first]!,
          })),
        },
        flag,
      ),
    );
}

/** Workgroups that keep a large GPU busy: a pass of more would take its time to end them, a millisecond for a million. */
const MOST_GROUPS = 4096;

/** An entry point as {@link entryPoint} writes it: threads, parameters, and what is behind its first line. */
const ENTRY = /@compute @workgroup_size\((\d+)\)\nfn main\((.*)\) \{\n {2}let group = id\.y \* count\.x \+ id\.x;\n/;

/** The pass with an end to it at once where the first number of a buffer is 0; its workgroups take turns. */
function unlessZero(pass: GpuPass, flag: number): GpuPass {
  const own = pass.buffers.length;
  // parameters come behind all buffers
  const code = pass.code.replace(`@binding(${own}) var<uniform>`, `@binding(${own + 1}) var<uniform>`);
  const [entry, threads, parameters] = ENTRY.exec(code) ?? [];
  if (entry === undefined || parameters === undefined)
    throw new TypeError("webgpu: expected a pass with one entry point to put an end to");
  const named = parameters.split(", ").map((each) => each.slice(each.indexOf(") ") + 2));
  const turns = `
@compute @workgroup_size(${threads})
fn main(${parameters}) {
  if (instead.x == 0.0) { return; }
  for (var group = id.y * count.x + id.x; group < ${pass.groups}u; group += count.x * count.y) {
    turn(group, ${named.map((each) => each.split(":")[0]).join(", ")});
${code.includes("var<workgroup>") ? "    workgroupBarrier();\n" : ""}  }
}
`;
  return {
    ...pass,
    code: `${code.replace(entry, `fn turn(group: u32, ${named.join(", ")}) {\n`)}${turns}${declare(own, "instead", "uniform", "vec4<f32>")}`,
    buffers: [...pass.buffers, { buffer: flag, access: "uniform", window: { from: 0, bytes: 16 } }],
    groups: Math.min(pass.groups, MOST_GROUPS),
  };
}
