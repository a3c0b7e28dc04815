/** Compiled WGSL, once per text. */
import { KernelCompileError } from "@seqmix/tensor";
import type { Loss } from "./loss.js";
import { withExtensions, type GpuBinding } from "@seqmix/tensor/wgsl";

export interface Pipeline {
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
}

export interface Pipelines {
  /** @throws KernelCompileError with the kernel's name, the line and what the compiler said. */
  compile(name: string, code: string, bindings: readonly GpuBinding[], hasParameters: boolean): Promise<Pipeline>;
}

/** GPUShaderStage.COMPUTE. */
const COMPUTE = 4;
const BINDING_TYPES: Readonly<Record<GpuBinding["access"], GPUBufferBindingType>> = {
  read: "read-only-storage",
  read_write: "storage",
  uniform: "uniform",
};
/** Pipelines kept; the least recently asked for are dropped. */
const CACHED = 4096;

export function makePipelines(gpu: GPUDevice, loss: Loss): Pipelines {
  const compiled = new Map<string, Promise<Pipeline>>();
  const layouts = new Map<string, { readonly group: GPUBindGroupLayout; readonly pipeline: GPUPipelineLayout }>();

  const layoutFor = (
    bindings: readonly GpuBinding[],
    hasParameters: boolean,
  ): { readonly group: GPUBindGroupLayout; readonly pipeline: GPUPipelineLayout } => {
    const types = bindings.map(({ access }) => BINDING_TYPES[access]);
    if (hasParameters) types.push("uniform");
    const key = types.join();
    let layout = layouts.get(key);
    if (!layout) {
      const group = gpu.createBindGroupLayout({
        entries: types.map((type, binding) => ({ binding, visibility: COMPUTE, buffer: { type } })),
      });
      layouts.set(key, (layout = { group, pipeline: gpu.createPipelineLayout({ bindGroupLayouts: [group] }) }));
    }
    return layout;
  };

  const make = async (
    name: string,
    text: string,
    bindings: readonly GpuBinding[],
    hasParameters: boolean,
  ): Promise<Pipeline> => {
    const layout = layoutFor(bindings, hasParameters);
    const code = withExtensions(text);
    gpu.pushErrorScope("validation");
    const module = gpu.createShaderModule({ label: name, code });
    const refused = gpu.popErrorScope();
    const pipeline = gpu.createComputePipelineAsync({
      label: name,
      layout: layout.pipeline,
      compute: { module, entryPoint: "main" },
    });
    try {
      const [made] = await loss.wait(Promise.all([pipeline, refused]));
      return { pipeline: made, layout: layout.group };
    } catch (cause) {
      loss.check();
      const { messages } = await loss.wait(module.getCompilationInfo());
      const first = messages.find(({ type }) => type === "error");
      const where = first
        ? `line ${first.lineNum}: ${first.message.trim()}\n  ${code.split("\n")[first.lineNum - 1] ?? ""}`
        : String(cause);
      throw new KernelCompileError(
        `${name}: expected WGSL that the adapter compiles, got an error at ${where}\nreport this with the output of explain()`,
        { cause },
      );
    }
  };

  return {
    compile(name, code, bindings, hasParameters) {
      let known = compiled.get(code);
      compiled.delete(code);
      if (!known) {
        known = make(name, code, bindings, hasParameters);
        known.catch(() => compiled.delete(code));
      }
      compiled.set(code, known);
      if (compiled.size > CACHED) compiled.delete(compiled.keys().next().value!);
      return known;
    },
  };
}
