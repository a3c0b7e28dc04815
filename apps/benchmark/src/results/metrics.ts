/** Metrics that are better when they are higher; all others, such as bits per character, when they are lower. */
const HIGHER = new Set(["accuracy", "tokensPerSecond"]);

/** Whether more of a metric is better. */
export const isHigherBetter = (metric: string): boolean => HIGHER.has(metric);

/** Whether a value of a metric is better than another. */
export const isBetter = (metric: string, a: number, b: number): boolean => (isHigherBetter(metric) ? a > b : a < b);
