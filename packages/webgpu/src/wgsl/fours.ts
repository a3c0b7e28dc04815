/**
 * Elements that are read four at a time though neighbouring points do not read neighbouring ones: the taps of a filter that
 * each channel has, say. Four readings far apart take a GPU four times as long as one of four elements.
 */
import type { Affine, Scalar } from "@seqmix/tensor/backend";
import { addressText } from "./values.js";

type Load = Scalar & { readonly op: "load" };

/**
 * The inputs all of whose readings are in blocks of four, and of several places in a block.
 * @param loads All of a kernel. @param may Whether an input's memory may be read so.
 */
export function inFours(loads: readonly Load[], may: (input: number) => boolean): ReadonlySet<number> {
  const places = new Map<number, Set<number>>();
  const others = new Set<number>();
  for (const { input, gather, index } of loads) {
    if (gather || !may(input) || index.coefficients.some((c) => c % 4 !== 0)) others.add(input);
    else places.set(input, (places.get(input) ?? new Set()).add(placeOf(index)));
  }
  return new Set([...places].flatMap(([input, found]) => (others.has(input) || found.size < 2 ? [] : [input])));
}

/** An element of memory that is declared as vectors of four. */
export function fourText(memory: string, index: Affine, axes: readonly string[]): string {
  const place = placeOf(index);
  const block = {
    offset: (index.offset - place) / 4,
    coefficients: index.coefficients.map((c) => c / 4),
  };
  return `${memory}[${addressText(block, axes)}][${place}]`;
}

const placeOf = ({ offset }: Affine): number => ((offset % 4) + 4) % 4;
