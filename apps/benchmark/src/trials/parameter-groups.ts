import type { AnyMixer } from "@seqmix/mixer";
import type { ParameterGroup } from "@seqmix/optim";

/** The optimizer's groups for a model around the mixer: the mixer's own, and no weight decay for norms and biases. */
export function parameterGroupsOf(mixer: AnyMixer, lr: number): readonly ParameterGroup[] {
  return [...(mixer.parameterGroups?.(lr) ?? []), { match: /norm|bias/, weightDecay: 0 }];
}
