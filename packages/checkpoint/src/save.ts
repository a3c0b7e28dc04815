/** Writing trees of tensors. */
import { assertSettings, CheckpointError, leavesOf, mapTree, realize, type Tensor, type Tree } from "@seqmix/tensor";
import { bytesOf, STORED_AS } from "./elements.js";
import { METADATA, writeSafetensors } from "./format.js";

/** What goes into a file beside the tensors. */
export interface SaveOptions {
  /** Texts by name, e.g. `{ format: "pt" }`, which PyTorch's readers ask for. */
  readonly metadata?: Readonly<Record<string, string>>;
}

/** The tensors of a tree by path. */
function namesOf(tree: Tree): ReadonlyMap<string, Tensor> {
  const named = new Map<string, Tensor>();
  const refuse = (what: string, got: string): never => {
    throw new CheckpointError(`saveSafetensors: expected ${what}, got ${got}; change the keys of the tree`);
  };
  mapTree((x, path) => {
    if (named.has(path)) refuse("one tensor at each path", `two at "${path}"`);
    if (path === "") refuse("a name for every tensor", 'one at ""');
    if (path === METADATA || /\p{Surrogate}/u.test(path)) refuse("paths that a file can hold", JSON.stringify(path));
    named.set(path, x);
    return x;
  }, tree);
  return named;
}

/**
 * A safetensors file of all tensors of a tree, each under its path, e.g. "layers.0.in_proj.weight": f32 as F32, f16 as F16,
 * i32 as I32, bool as BOOL. A tensor that is in the tree twice is in the file twice. The tensors stay as they are; those that
 * are not computed yet are realized.
 *
 * @returns The bytes: `await writeFile("model.safetensors", bytes)` in Node, `new Blob([bytes])` in a page.
 * @throws CheckpointError if two tensors have one path, or a path can be no name (empty, or `__metadata__`).
 */
export async function saveSafetensors(tree: Tree, options: SaveOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
  assertSettings("saveSafetensors", options, ["metadata"]);
  const { metadata } = options;
  for (const [name, text] of Object.entries(metadata ?? {}))
    if (typeof metadata !== "object" || typeof text !== "string")
      throw new CheckpointError(
        `saveSafetensors: expected texts by name as metadata, got ${typeof text} for ${name}; write { ${name}: "..." }`,
      );
  const named = namesOf(tree);
  await realize(leavesOf(tree).filter(({ source }) => source.kind === "call"));
  const tensors = await Promise.all(
    [...named].map(async ([name, x]) => ({
      name,
      dtype: STORED_AS[x.dtype],
      shape: x.shape,
      bytes: bytesOf(await x.data(), x.dtype),
    })),
  );
  return writeSafetensors(tensors, metadata);
}
