/** The end of a device: whatever waits for it then fails with the reason, and nothing hangs. */
import { DeviceError, DeviceLostError, LimitError } from "@seqmix/tensor";

export interface Loss {
  /** Waits for work of the device. @throws DeviceLostError as soon as the device is lost. */
  wait<T>(work: Promise<T>): Promise<T>;
  /** @throws DeviceLostError if the device is lost; DeviceError or LimitError if it reported an error since the last call. */
  check(): void;
}

export function watchLoss(gpu: GPUDevice): Loss {
  const waiting = new Set<(error: Error) => void>();
  let lost: string | undefined;
  let reported: GPUError | undefined;
  const lostError = (): DeviceLostError =>
    new DeviceLostError(
      `webgpu: expected a working device, but it is lost (${lost}); make a new one with webgpu() and start from saved values`,
    );
  void gpu.lost.then(({ reason, message }) => {
    lost = `${reason}${message ? `: ${message.trim()}` : ""}`;
    for (const reject of waiting) reject(lostError());
    waiting.clear();
  });
  gpu.onuncapturederror = ({ error }) => {
    reported ??= error;
  };
  return {
    wait: (work) =>
      new Promise((resolve, reject) => {
        if (lost !== undefined) {
          reject(lostError());
          return;
        }
        waiting.add(reject);
        work.then(
          (value) => {
            if (waiting.delete(reject)) resolve(value);
          },
          (error: unknown) => {
            if (!waiting.delete(reject)) return;
            // The loss itself is announced a moment after what it breaks.
            if (error instanceof Error && error.name === "AbortError") void gpu.lost.then(() => reject(lostError()));
            else reject(error);
          },
        );
      }),
    check() {
      if (lost !== undefined) throw lostError();
      if (!reported) return;
      const { message } = reported;
      const OutOfMemory = reported.constructor.name === "GPUOutOfMemoryError" ? LimitError : DeviceError;
      reported = undefined;
      throw new OutOfMemory(`webgpu: expected the GPU to accept all work, got: ${message}`);
    },
  };
}
