/**
 * A running trial on the disk: everything that its further steps depend on. A trial continued from a snapshot ends with
 * exactly the numbers of one that was never stopped, since batches are functions of seed and step.
 *
 * Format: length of the header (u32, little-endian), header (JSON), the tensors' values one after another, and the
 * SHA-256 of all that: a file that was damaged on the disk is not continued, however little of it changed.
 */
import { createHash } from "node:crypto";
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
  /** Of the program that wrote it. */
  readonly commit: string;
}

interface Header extends SnapshotOwner {
  readonly progress: TrialProgress;
  readonly tensors: readonly {
    readonly path: string;
    readonly type: keyof typeof arrays;
    readonly shape: readonly number[];
  }[];
}

/** Bytes of the checksum at the end. */
const CHECKSUM = 32;
const checksumOf = (bytes: Uint8Array): Buffer => createHash("sha256").update(bytes).digest();

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
  const content = Buffer.concat([
    length,
    json,
    ...values.map((data) => Buffer.from(data.buffer, data.byteOffset, data.byteLength)),
  ]);
  writeFileAtomically(path, Buffer.concat([content, checksumOf(content)]));
}

/** What a snapshot says. */
export interface Snapshot<T> {
  readonly progress: TrialProgress;
  readonly tree: T;
}

/**
 * Reads a snapshot back.
 * @param like A tree of the form that was written; its values are not used.
 * @returns The snapshot; "none" if there is none, or it is another trial's, or of other settings or another device;
 *   "other version" if another commit wrote it, "damaged" if its checksum does not fit, or what it holds.
 */
export function readSnapshot<T extends Tree>(
  path: string,
  owner: SnapshotOwner,
  like: T,
): Snapshot<T> | "none" | "other version" | "damaged" {
  if (!existsSync(path)) return "none";
  const bytes = readFileSync(path);
  const content = bytes.subarray(0, Math.max(0, bytes.length - CHECKSUM));
  if (!checksumOf(content).equals(bytes.subarray(content.length))) return "damaged";
  try {
    const start = 4 + content.readUInt32LE(0);
    const header = JSON.parse(content.toString("utf8", 4, start)) as Header;
    if (header.trial !== owner.trial || header.device !== owner.device || !sameSettings(header.config, owner.config))
      return "none";
    if (header.commit !== owner.commit) return "other version";
    const values = new Map<string, HostArray>();
    let offset = start;
    for (const { path: name, type, shape } of header.tensors) {
      const size = shape.reduce((product, extent) => product * extent, 1);
      const end = offset + size * arrays[type].BYTES_PER_ELEMENT;
      // A copy, since the values need not be aligned in the file.
      values.set(
        name,
        new arrays[type](content.buffer.slice(content.byteOffset + offset, content.byteOffset + end) as ArrayBuffer),
      );
      offset = end;
    }
    return { progress: header.progress, tree: mapTree((leaf, name) => tensor(values.get(name)!, leaf.shape), like) };
  } catch {
    return "damaged";
  }
}

/** Removes a snapshot that is no longer needed. */
export function removeSnapshot(path: string): void {
  rmSync(path, { force: true });
}
