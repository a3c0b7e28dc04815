/** The buffers of a pass: their declarations in WGSL beside their numbers in the program. */
import { declare, declareParameters, type GpuPass, type GpuParameters } from "@seqmix/tensor/wgsl";

/** A buffer that a pass reads or writes under a name. */
export interface Bound {
  readonly name: string;
  /** Its number in the program. */
  readonly buffer: number;
  readonly type: "f32" | "f16" | "vec2f" | "vec4f";
  readonly access?: "read_write";
}

/** Declarations of buffers and parameters, and what {@link GpuPass} says of them. */
export function bind(
  bound: readonly Bound[],
  parameters: GpuParameters,
): { readonly declarations: string; readonly buffers: GpuPass["buffers"] } {
  return {
    declarations:
      bound.map(({ name, type, access }, k) => declare(k, name, access ?? "read", type)).join("") +
      declareParameters(bound.length, parameters),
    buffers: bound.map(({ buffer, access }) => ({ buffer, access: access ?? "read" })),
  };
}

/** A tensor's buffer in a program, or one of scratch. */
export interface Operand {
  readonly buffer: number;
  readonly half?: boolean;
}

/** An operand's element as f32. */
export const element = (name: string, { half }: Operand): string => (half ? `f32(${name})` : name);
/** What is stored of an f32 value. */
export const stored = (value: string, { half }: Pick<Operand, "half">): string => (half ? `f16(${value})` : value);
/** An operand under a name. */
export const boundAs = (name: string, { buffer, half }: Operand, more: Partial<Bound> = {}): Bound => ({
  name,
  buffer,
  type: half ? "f16" : "f32",
  ...more,
});
