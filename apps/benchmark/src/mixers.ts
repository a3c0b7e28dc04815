import type { AnyMixer } from "@seqmix/mixer";
import { attention } from "@seqmix/attention";
import { mamba } from "@seqmix/mamba";
import { s4d } from "@seqmix/s4";

/** Every architecture a trial can name, in the order of tables and lists. */
export const mixers: readonly AnyMixer[] = [mamba, s4d, attention];
