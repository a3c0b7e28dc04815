import { attention } from "@seqmix/attention";
import { gateLoop } from "@seqmix/gateloop";
import { mamba, mambaParameterGroups } from "@seqmix/mamba";
import type { AnyMixer } from "@seqmix/mixer";
import type { ParameterGroup } from "@seqmix/optim";
import { lru, lruParameterGroups, s5, s5ParameterGroups } from "@seqmix/s5";
import { s4d, s4dParameterGroups } from "@seqmix/s4";

/** Every architecture a trial can name, in the order of tables and lists. */
export const mixers: readonly AnyMixer[] = [mamba, s4d, s5, lru, gateLoop, attention];

/** How the published training code treats some parameters, at a peak learning rate. Mixers not named have no such parameters. */
const published: Readonly<Record<string, (lr: number) => readonly ParameterGroup[]>> = {
  mamba: () => mambaParameterGroups,
  s5: (lr) => s5ParameterGroups.map((group) => ({ ...group, learningRateScale: Math.min(1, 1e-3 / lr) })),
  lru: () => lruParameterGroups,
  s4d: (lr) => s4dParameterGroups.map((group) => ({ ...group, learningRateScale: Math.min(1, 1e-3 / lr) })),
};

/** The optimizer's groups for a model around the mixer: the mixer's own, and no weight decay for norms and biases. */
export function parameterGroupsOf(mixer: AnyMixer, lr: number): readonly ParameterGroup[] {
  return [...(published[mixer.id]?.(lr) ?? []), { match: /norm|bias/, weightDecay: 0 }];
}
