/**
 * A running trial on the disk: everything that its further steps depend on. A trial continued from a snapshot ends with
 * exactly the numbers of one that was never stopped, since batches are functions of seed and step.
 *
 * Format: length of the header (u32, little-endian), header (JSON), then the tensors' values one after another.
 */
import { existsSync, readFileSync, rmSync } from "node:fs";
import { mapTree, namedLeaves, tensor, type HostArray, type Tree } from "@seqmix/tensor";
import { writeFileAtomically } from "../results/atomic-file.js";
import type { CurvePoint } from "../results/results.js";
import { sameSettings, type Settings } from "./settings.js";

/** What a trial has done so far, beside its tensors. */
export interface TrialProgress {
  /** Updates made. */
  step: number;
  readonly curve: CurvePoint[];
  /** Losses of the steps since the last point of the curve. */
  window: number[];
  wallSeconds: number;
  /** Steps whose time counts, and that time. */
  timedSteps: number;
  timedSeconds: number;
}

/** What a snapshot must have been made by to be continued. */
export interface SnapshotOwner {
  readonly trial: string;
  readonly config: Settings;
  readonly device: string;
}

interface Header extends SnapshotOwner {
  readonly progress: TrialProgress;
  readonly tensors: readonly {
    readonly path: string;
    readonly type: keyof typeof arrays;
    readonly shape: readonly number[];
  }[];
}

const arrays = { Float32Array, Float64Array, Int32Array, Uint8Array };

/** Writes a snapshot; a kill at any moment leaves the one before or this one. */
export async function writeSnapshot(
  path: string,
  owner: SnapshotOwner,
  progress: TrialProgress,
  tree: Tree,
): Promise<void> {
  const leaves = Object.entries(namedLeaves(tree));
  const values = await Promise.all(leaves.map(([, leaf]) => leaf.data()));
  const header: Header = {
    ...owner,
    progress,
    tensors: leaves.map(([name, leaf], k) => ({
      path: name,
      type: values[k]!.constructor.name as keyof typeof arrays,
      shape: leaf.shape,
    })),
  };
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(json.length);
  writeFileAtomically(
    path,
    Buffer.concat([length, json, ...values.map((data) => Buffer.from(data.buffer, data.byteOffset, data.byteLength))]),
  );
}

/**
 * Reads a snapshot back.
 * @param like A tree of the form that was written; its values are not used.
 * @returns undefined if there is no snapshot, or it is another trial's, or of other settings or another device, or damaged.
 */
export function readSnapshot<T extends Tree>(
  path: string,
  owner: SnapshotOwner,
  like: T,
): { readonly progress: TrialProgress; readonly tree: T } | undefined {
  if (!existsSync(path)) return undefined;
  try {
    const bytes = readFileSync(path);
    const start = 4 + bytes.readUInt32LE(0);
    const header = JSON.parse(bytes.toString("utf8", 4, start)) as Header;
    if (header.trial !== owner.trial || header.device !== owner.device || !sameSettings(header.config, owner.config))
      return undefined;
    const values = new Map<string, HostArray>();
    let offset = start;
    for (const { path: name, type, shape } of header.tensors) {
      const size = shape.reduce((product, extent) => product * extent, 1);
      const end = offset + size * arrays[type].BYTES_PER_ELEMENT;
      if (end > bytes.length) return undefined;
      // A copy, since the values need not be aligned in the file.
      values.set(
        name,
        new arrays[type](bytes.buffer.slice(bytes.byteOffset + offset, bytes.byteOffset + end) as ArrayBuffer),
      );
      offset = end;
    }
    const tree = mapTree((leaf, name) => tensor(values.get(name)!, leaf.shape), like);
    return { progress: header.progress, tree };
  } catch {
    return undefined;
  }
}

/** Removes a snapshot that is no longer needed. */
export function removeSnapshot(path: string): void {
  rmSync(path, { force: true });
}
