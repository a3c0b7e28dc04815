/**
 * Every error is one sentence: what was expected, what came, what to do.
 * The class says which kind of mistake it was, so that programs can tell them apart.
 */
class SeqmixError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** Shapes or axes that do not fit together. */
export class ShapeError extends SeqmixError {}
/** An element type an operation does not take. */
export class DTypeError extends SeqmixError {}
/** A device limit that was crossed; names the limit and the device's value. */
export class LimitError extends SeqmixError {}
/** A kernel that a device refused; names the variant and the line. */
export class KernelCompileError extends SeqmixError {}
/** NaN or infinity found in debug mode; names the operation and the user's line. */
export class NumericError extends SeqmixError {}
/** Use of a tensor whose memory was given back. */
export class DisposedError extends SeqmixError {}
/** A device that is gone, or a tensor handed to a device it does not live on. */
export class DeviceError extends SeqmixError {}
/** The WebGPU device was lost while work was pending. */
export class DeviceLostError extends DeviceError {}
/** A checkpoint that does not fit the model or cannot be read. */
export class CheckpointError extends SeqmixError {}

/** What an argument is, in an error's words. @internal */
export const describeValue = (value: unknown): string =>
  value === null || value === undefined
    ? String(value)
    : Array.isArray(value)
      ? "an array"
      : typeof value === "object"
        ? value.constructor?.name && value.constructor !== Object
          ? `a ${value.constructor.name}`
          : `an object with ${Object.keys(value).join(", ") || "nothing in it"}`
        : `the ${typeof value} ${String(value)}`;
