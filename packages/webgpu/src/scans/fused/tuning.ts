/** Sizes of a fused recurrence's passes, by what the adapter is. */

/** Sizes; tests and measurements pass others than {@link tuningOf} finds. */
export interface Tuning {
  /** Threads that keep the device busy. */
  readonly threads: number;
  readonly workgroup: number;
  /** Threads of a workgroup, and steps of a chunk, in the chunked form. */
  readonly chunkWorkgroup: number;
  readonly chunk: number;
  /** Chunks of a segment at most. */
  readonly chunks: number;
  /** Steps whose inputs are staged together, and the shortest segment. */
  readonly stage: number;
  readonly shortest: number;
  /** Steps loaded ahead. */
  readonly ahead: number;
  /** Threads of a subgroup, if the adapter has subgroups of one size; else 0. */
  readonly subgroup: number;
  /** Bytes of workgroup memory that a pass may take, and of them for the inputs of a segment that is run through before its chunks. */
  readonly workgroupBytes: number;
  readonly sweptBytes: number;
  /** Where threads share channels. */
  readonly lanes: LanesTuning;
  /** Other sizes, each with less scratch memory, for kernels where this one's would be large. */
  readonly frugal: readonly Partial<Tuning>[];
}

/** Sizes of recurrences whose channels threads share. */
export interface LanesTuning {
  /** Threads that keep the device busy: fewer, and the recurrence is cut into segments instead. */
  readonly least: number;
  /** Threads of a workgroup: of a recurrence, and of its gradient. */
  readonly workgroup: number;
  readonly chunkWorkgroup: number;
  /** Values of the register axis that a thread has, a multiple of four: in a recurrence, and in its gradient. */
  readonly own: number;
  readonly chunkOwn: number;
  /** Steps of a round of a recurrence, of a chunk of its gradient, and of those whose states are computed again together. */
  readonly round: number;
  readonly chunk: number;
  readonly again: number;
  /** Bytes of workgroup memory that a pass may take. */
  readonly workgroupBytes: number;
}

/** For an adapter of which nothing is known. */
export const TUNING: Tuning = {
  threads: 262144,
  workgroup: 128,
  chunkWorkgroup: 64,
  chunk: 16,
  chunks: 4,
  stage: 64,
  shortest: 64,
  ahead: 4,
  subgroup: 0,
  workgroupBytes: 16384,
  sweptBytes: 4096,
  // After B8 L2048 D2048 N16 on an H200.
  lanes: {
    least: 65536,
    workgroup: 128,
    chunkWorkgroup: 256,
    own: 4,
    chunkOwn: 8,
    round: 32,
    chunk: 16,
    again: 4,
    workgroupBytes: 16384,
  },
  frugal: [{ chunks: 8 }, { chunks: 16 }],
};

/** Shorter texts: a processor gains nothing from steps written out, and compiling them takes most of the time. */
const SOFTWARE: Tuning = { ...TUNING, chunk: 4, ahead: 1 };

/** Bytes of workgroup memory beyond which fewer workgroups run at a time. */
const MOST_WORKGROUP_BYTES = 32768;

/** @param adapter Whether it is a program on the processor, the size of all its subgroups (0 if they differ), and its workgroup memory. */
export function tuningOf({
  software,
  subgroup,
  workgroupBytes,
}: {
  readonly software: boolean;
  readonly subgroup: number;
  readonly workgroupBytes: number;
}): Tuning {
  if (software) return SOFTWARE;
  if (subgroup < 16) return TUNING;
  const most = Math.min(workgroupBytes, MOST_WORKGROUP_BYTES);
  // After selective scans of 33 to 268 million steps and channels on an H100.
  const small = { chunk: 8, chunks: 16, chunkWorkgroup: 256, sweptBytes: 8192 };
  return {
    ...TUNING,
    workgroup: 256,
    ahead: 8,
    subgroup,
    workgroupBytes: most,
    lanes: { ...TUNING.lanes, workgroupBytes },
    chunkWorkgroup: 128,
    frugal: most < MOST_WORKGROUP_BYTES ? [{ chunks: 8 }] : [small, { ...small, chunks: 32, sweptBytes: 16384 }],
  };
}
