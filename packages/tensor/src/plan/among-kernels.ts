/** Passes that change nothing where a plan has a single kernel: in one piece, which is loaded where it has more. */
export { storeGradientsInHalf } from "./gradients-in-half.js";
export { groupRows } from "./row-groups.js";
export { attachEpilogues, attachSums } from "./matmul-epilogue.js";
export { joinLoops } from "./join-loops.js";
export { freeEarly } from "./free-early.js";
