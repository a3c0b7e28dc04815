/**
 * Tensors that a pending run or a read still needs: `dispose` of one takes effect when the last has let go, so that its memory
 * is not handed out again before it was read.
 */
interface Hold {
  count: number;
  disposed: boolean;
}

const holds = new WeakMap<object, Hold>();

/** Keeps the memory of a tensor until {@link letGo}. */
export function hold(x: object): void {
  const known = holds.get(x);
  if (known) known.count++;
  else holds.set(x, { count: 1, disposed: false });
}

/** Ends a {@link hold}. @returns Whether the tensor was disposed meanwhile and nothing holds it any more. */
export function letGo(x: object): boolean {
  const known = holds.get(x)!;
  if (--known.count > 0) return false;
  holds.delete(x);
  return known.disposed;
}

/** Notes that a tensor is to be disposed when nothing holds it. @returns false if nothing does. */
export function disposeLater(x: object): boolean {
  const known = holds.get(x);
  if (known) known.disposed = true;
  return known !== undefined;
}

/** Whether a tensor was disposed, but is still held. */
export const isLeaving = (x: object): boolean => holds.get(x)?.disposed ?? false;
