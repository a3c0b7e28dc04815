/** Reading trees of tensors. */
import {
  CheckpointError,
  isReal,
  mapTree,
  tensor,
  type HostArray,
  type DType,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import { decode } from "./elements.js";
import { readSafetensors, type StoredTensor } from "./format.js";

/** What a file is read into. */
export interface LoadOptions<T extends Tree> {
  /** A tree of the wanted form, e.g. initial parameters: names, shapes and types must be those of its tensors. Its values are not used. */
  readonly like?: T;
}

/** A tree by the names of a file, split at their dots; keys 0, 1, ... make an array. */
export type LoadedTree = { readonly [name: string]: Tree };

/** Levels of a tree, which functions over trees walk by recursion. */
const DEEPEST = 256;

/**
 * The tensors of a safetensors file as a tree: of the form of `like`, or by the names, so that `{ layers: [{ weight }] }` comes
 * back as it was saved. F32, F64 and BF16 become f32 (the last two rounded, or exact, as f32 can hold them), F16 becomes f16,
 * BOOL bool, and integers of every width i32. With `like`, F16 may also become f32. Tensors lie on the host until they are used.
 *
 * @throws CheckpointError if the file breaks the rules of the format, its names make no tree, it holds what no element type
 *   can hold, or it does not have exactly the tensors of `like`.
 */
export function loadSafetensors(file: Uint8Array | ArrayBuffer): LoadedTree;
export function loadSafetensors<T extends Tree>(file: Uint8Array | ArrayBuffer, options: { readonly like: T }): T;
export function loadSafetensors<T extends Tree>(
  file: Uint8Array | ArrayBuffer,
  { like }: LoadOptions<T> = {},
): T | LoadedTree {
  const { tensors } = readSafetensors(file);
  return like === undefined ? treeOf(tensors) : inForm(like, tensors);
}

function inForm<T extends Tree>(like: T, tensors: ReadonlyMap<string, StoredTensor>): T {
  const left = new Set(tensors.keys());
  const tree = mapTree((x, path) => {
    const stored = tensors.get(path);
    left.delete(path);
    if (!stored) return refuse(`"${path}"`, `a file without it; ${advice}`);
    const [values, dtype] = decode(path, stored);
    const widened = x.dtype === "f32" && isReal(dtype);
    if ((x.dtype !== dtype && !widened) || x.shape.join() !== stored.shape.join())
      return refuse(`${x.toString()} at "${path}"`, `${stored.dtype} [${stored.shape.join(",")}]; ${advice}`);
    return made(values, stored.shape, x.dtype);
  }, like as Tree) as T;
  if (left.size > 0)
    return refuse("no more tensors than the form has", `"${[...left].slice(0, 3).join('", "')}"; ${advice}`);
  return tree;
}

const advice = "give the form that the file was saved from, or load it without `like` and pick what you need";

function refuse(what: string, got: string): never {
  throw new CheckpointError(`loadSafetensors: expected ${what}, got ${got}`);
}

const made = (values: HostArray, shape: readonly number[], dtype: DType): Tensor =>
  dtype === "f16" ? tensor(values, shape, "f16") : tensor(values, shape);

/** A part of a tree while it grows. */
type Branch = Map<string, Branch | Tensor>;

function treeOf(tensors: ReadonlyMap<string, StoredTensor>): LoadedTree {
  const root: Branch = new Map();
  for (const [name, stored] of tensors) {
    const parts = name.split(".");
    if (parts.includes("__proto__") || parts.length > DEEPEST)
      refuse(`names of at most ${DEEPEST} parts, none of them __proto__`, JSON.stringify(name.slice(0, 200)));
    let at = root;
    for (const part of parts.slice(0, -1)) {
      const next = at.get(part) ?? new Map();
      if (!(next instanceof Map)) return noTree(name);
      at.set(part, next);
      at = next;
    }
    const last = parts.at(-1)!;
    if (at.has(last)) return noTree(name);
    at.set(last, made(...decodedWithShape(name, stored)));
  }
  return objectOf(root);
}

function decodedWithShape(name: string, stored: StoredTensor): [HostArray, readonly number[], DType] {
  const [values, dtype] = decode(name, stored);
  return [values, stored.shape, dtype];
}

const noTree = (name: string): never =>
  refuse("names that make a tree", `a tensor and more under one name with "${name}"; read it with readSafetensors`);

const grown = (part: Branch | Tensor): Tree => {
  if (!(part instanceof Map)) return part;
  const isList = [...Array(part.size).keys()].every((k) => part.has(String(k)));
  return isList ? Array.from({ length: part.size }, (_, k) => grown(part.get(String(k))!)) : objectOf(part);
};

const objectOf = (branch: Branch): LoadedTree =>
  Object.fromEntries([...branch].map(([name, part]) => [name, grown(part)]));
