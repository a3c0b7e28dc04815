/**
 * The delta rule, plain and gated, as a recurrence and in chunks.
 *
 * @packageDocumentation
 */
export { deltaRule, deltaRuleStep } from "./delta-rule.js";
export type { DeltaRuleArguments, DeltaRuleOptions, DeltaRuleResult, DeltaRuleStepArguments } from "./arguments.js";
