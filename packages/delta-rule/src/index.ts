/**
 * The delta rule, plain and gated, as a recurrence and in chunks.
 *
 * @packageDocumentation
 */
export {
  deltaRule,
  deltaRuleStep,
  type DeltaRuleArguments,
  type DeltaRuleOptions,
  type DeltaRuleResult,
  type DeltaRuleStepArguments,
} from "./delta-rule.js";
