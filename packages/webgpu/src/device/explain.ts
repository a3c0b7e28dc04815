/** What `explain` prints beside the kernels; a page that asks for it loads it. */
export { describePeak, showPasses } from "@seqmix/tensor/backend";
