/** Memory of tensors that are garbage collected without `dispose`. */
import type { Device, DeviceBuffer } from "../devices/device.js";

const forgotten = new FinalizationRegistry<{ device: Device; buffer: DeviceBuffer }>(({ device, buffer }) =>
  device.release(buffer, { collected: true }),
);

/** Frees the buffer when the tensor is collected. */
export const freeWhenForgotten = (x: object, device: Device, buffer: DeviceBuffer): void =>
  forgotten.register(x, { device, buffer }, buffer);

/** The buffer was given back, or has another owner: nothing of it is kept. */
export const notForgotten = (buffer: DeviceBuffer): void => void forgotten.unregister(buffer);
