/** Checks of WebGPU programs as plain data: whether a program keeps within an adapter's limits and its own declarations. */
import {
  bytesOf,
  PORTABLE_LIMITS,
  WINDOW_ALIGNMENT,
  type GpuLimits,
  type GpuPass,
  type GpuProgram,
} from "@seqmix/tensor/wgsl";
import { LawError } from "./compare.js";

/** Elements of the buffers of a program around it. */
export interface ProgramBuffers {
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
}

/**
 * A program binds what it declares and no more: every buffer exists and is bound once a pass, windows lie within theirs,
 * inputs are only read, every output is written, scratch is written before it is read, and the text declares the same
 * buffers with the same access, at most as many threads and as much workgroup memory as the limits allow.
 * @throws LawError naming the pass.
 */
export function checkProgram(
  law: string,
  { passes, scratch }: GpuProgram,
  { inputs, outputs }: ProgramBuffers,
  limits: GpuLimits = PORTABLE_LIMITS,
): void {
  const bytes = [...[...inputs, ...outputs].map((size) => bytesOf(size)), ...scratch];
  const written = new Set(inputs.map((_, k) => k));
  passes.forEach((pass, k) => {
    const fail = (found: string): never => {
      throw new LawError(`${law}, pass ${k + 1} of ${passes.length}`, found);
    };
    checkBindings(pass, bytes, inputs.length, limits, fail);
    checkText(pass, limits, fail);
    for (const { buffer, access } of pass.buffers)
      if (access === "read" && !written.has(buffer)) fail(`buffer ${buffer} is read before anything is written to it`);
    for (const { buffer, access } of pass.buffers) if (access === "read_write") written.add(buffer);
  });
  outputs.forEach((size, k) => {
    if (size > 0 && !written.has(inputs.length + k)) throw new LawError(law, `output ${k} is never written`);
  });
}

type Fail = (found: string) => never;

function checkBindings(
  { buffers }: GpuPass,
  bytes: readonly number[],
  inputs: number,
  limits: GpuLimits,
  fail: Fail,
): void {
  if (buffers.length > limits.buffers) fail(`${buffers.length} buffers are bound, of ${limits.buffers} at most`);
  for (const { buffer, access, window = { from: 0, bytes: bytes[buffer]! } } of buffers) {
    const whole = bytes[buffer];
    if (whole === undefined) fail(`buffer ${buffer} is bound, of ${bytes.length}`);
    if (access === "read_write" && buffer < inputs) fail(`input ${buffer} is bound to be written`);
    if (window.from % WINDOW_ALIGNMENT !== 0 || window.from + window.bytes > whole!)
      fail(`bytes ${window.from} to ${window.from + window.bytes} of buffer ${buffer} are bound, of ${whole!}`);
    if (window.bytes > limits.bytes)
      fail(`${window.bytes} bytes of buffer ${buffer} are bound, of ${limits.bytes} at most`);
  }
  for (const { buffer, access } of buffers)
    if (access === "read_write" && buffers.filter((other) => other.buffer === buffer).length > 1)
      fail(`buffer ${buffer} is bound twice and written`);
}

function checkText({ code, buffers, parameters }: GpuPass, limits: GpuLimits, fail: Fail): void {
  const declared = [...code.matchAll(/@binding\((\d+)\) var<(storage, read_write|storage, read|uniform)>/g)];
  const expected = [...buffers.map(({ access }) => `storage, ${access}`), ...(parameters ? ["uniform"] : [])];
  const found = expected.map((_, k) => declared.find(([, binding]) => Number(binding) === k)?.[2]);
  if (declared.length !== expected.length || expected.some((access, k) => access !== found[k]))
    fail(`the text declares ${found.join("; ")}, and ${expected.join("; ")} are bound`);
  const threads = Number(/@workgroup_size\((\d+)\)/.exec(code)?.[1]);
  if (!(threads <= limits.threads)) fail(`a workgroup has ${threads} invocations, of ${limits.threads} at most`);
  const memory = [...code.matchAll(/var<workgroup> \w+: ([^;]+);/g)].reduce(
    (sum, [, type]) => sum + typeBytes(type!),
    0,
  );
  if (memory > limits.workgroupBytes) fail(`a workgroup has ${memory} bytes, of ${limits.workgroupBytes} at most`);
}

/** Bytes of a WGSL type such as `array<array<vec2f, 17>, 16>`. */
function typeBytes(type: string): number {
  const array = /^array<(.+), (\d+)u?>$/.exec(type.trim());
  if (array) return Number(array[2]) * typeBytes(array[1]!);
  const vector = /^vec([234])(?:f|<(.+)>)$/.exec(type.trim());
  if (vector) return (vector[1] === "2" ? 2 : 4) * (vector[2] === "f16" ? 2 : 4);
  return type.trim() === "f16" ? 2 : 4;
}
