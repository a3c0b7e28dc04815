/** Which memory a leaf of the graph has on a device. */
import type { Device, DeviceBuffer } from "./device.js";
import { describeValue, DeviceError } from "../graph/errors.js";
import { freeWhenForgotten } from "../graph/forgotten.js";
import { formatShape } from "../graph/shape.js";
import { assertAlive, type Tensor } from "../graph/tensor.js";

/** @throws DeviceError for anything but a device. */
export function assertDevice(user: string, device: Device): void {
  if (typeof (device as Partial<Device> | null)?.run !== "function")
    throw new DeviceError(
      `${user}: expected a device, got ${describeValue(device)}; make one with cpu() or await webgpu()`,
    );
}

/** Gives a tensor memory of its own; it lets go of what it was computed from. */
export function own(x: Tensor, device: Device, buffer: DeviceBuffer): void {
  x.source = { kind: "buffer", device, buffer };
  freeWhenForgotten(x, device, buffer);
}

/**
 * The memory of a leaf on a device. Host data is uploaded once a device and stays usable on others.
 * @throws DeviceError if the tensor was realized on another device.
 */
export function bufferOn(x: Tensor, device: Device, user: string): DeviceBuffer {
  const { source } = x;
  if (source.kind === "disposed") assertAlive(x, user);
  if (source.kind === "host") {
    let buffer = source.uploads.get(device);
    if (!buffer) {
      buffer = device.upload(source.data, x.dtype);
      source.uploads.set(device, buffer);
      freeWhenForgotten(x, device, buffer);
    }
    return buffer;
  }
  if (source.kind === "argument")
    throw new DeviceError(
      `${user}: expected a tensor with values, got an argument ${x.dtype} ${formatShape(x.shape)} of a function that is being compiled; its values come later: return what you need of it`,
    );
  if (source.kind !== "buffer")
    throw new DeviceError(
      `${user}: expected a leaf with values, got a tensor that is not computed yet; report this as a bug`,
    );
  if (source.device !== device)
    throw new DeviceError(
      `${user}: expected a tensor on device ${device.name}, got ${x.dtype} ${formatShape(x.shape)} on another device (${source.device.name}); read it with data() and make a new tensor of the values`,
    );
  return source.buffer;
}
