import type { Task } from "./task.js";

/**
 * A task at two, four, .. times its length up to `longest`, for `beyond`; `longest` itself is the last. None if it is 0.
 * @throws RangeError if `longest` is shorter than the task.
 */
export function doubledLengths<C extends { readonly L: number; readonly longest: number }>(
  config: C,
  make: (config: C) => Task,
): Readonly<Record<string, Task>> | undefined {
  const { L, longest } = config;
  if (longest === 0) return undefined;
  if (longest < L)
    throw new RangeError(`expected longest of 0 (none) or at least L=${L}, got ${longest}; raise longest`);
  const lengths: number[] = [];
  for (let length = 2 * L; length < longest; length *= 2) lengths.push(length);
  if (longest > L) lengths.push(longest);
  return Object.fromEntries(lengths.map((length) => [`L=${length}`, make({ ...config, L: length, longest: 0 })]));
}
