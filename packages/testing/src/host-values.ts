/** Test inputs on the host, and running graphs on a device. */
import {
  assertSettings,
  dispose,
  foldIn,
  mul,
  realize,
  roundToHalf,
  sizeOf,
  tensor,
  threefry,
  type Device,
  type DType,
  type HostArray,
  type Key,
  type Shape,
  type Tensor,
} from "@seqmix/tensor";

/** Values of a tensor on the host, row-major. */
export interface HostValues {
  /** Extents, outermost first. */
  readonly shape: Shape;
  /** Element type. */
  readonly dtype: DType;
  /** The numbers; f32 and f16 values may be float64. */
  readonly data: HostArray;
}

/**
 * Numbers in low..high that f32 (or f16) represents exactly, so that every device starts from the same ones.
 * i32: whole numbers from low to high - 1; bool: 0 or 1.
 */
export function randomValues(key: Key, shape: Shape, dtype: DType = "f32", low = -2, high = 2): HostValues {
  const draw = (k: number): number => low + (threefry(key.words, [k, 77])[0] >>> 8) * 2 ** -24 * (high - low);
  const numbers = Array.from({ length: sizeOf(shape) }, (_, k) => draw(k));
  const data =
    dtype === "f16"
      ? Float64Array.from(numbers, roundToHalf)
      : dtype === "f32"
        ? Float64Array.from(numbers, Math.fround)
        : dtype === "i32"
          ? Int32Array.from(numbers, Math.floor)
          : Uint8Array.from(numbers, (x) => (x < (low + high) / 2 ? 0 : 1));
  return { shape, dtype, data };
}

/** A new tensor of the values. */
export const toTensor = ({ data, shape, dtype }: HostValues): Tensor => tensor(data.slice(), shape, dtype);

/** Realizes what `build` makes, reads it and frees it. `build` must make its tensors anew: they are gone afterwards. */
export async function evaluate(
  device: Device,
  build: () => readonly Tensor[],
  options: { readonly fuse?: boolean } = {},
): Promise<HostValues[]> {
  assertSettings("evaluate", options, { fuse: "flag" });
  const leaves = build();
  await realize(leaves, { device, ...options });
  const values: HostValues[] = [];
  for (const leaf of leaves)
    values.push({ shape: leaf.shape, dtype: leaf.dtype, data: (await leaf.data()) as HostArray });
  dispose(leaves);
  return values;
}

/** Fills memory that is free on the device with NaN, so that a program that reads what it never wrote is found out. */
export async function poison(device: Device, elements = 1 << 16): Promise<void> {
  const uploaded = tensor(new Float32Array(elements).fill(NaN));
  const computed = mul(uploaded, 1);
  await realize(computed, { device });
  dispose([uploaded, computed]);
}

/** A key for a named place, so that no two tests draw the same numbers by accident. */
export const keyAt = (key: Key, ...path: readonly (string | number)[]): Key =>
  path.reduce<Key>((parent, part) => foldIn(parent, part), key);
