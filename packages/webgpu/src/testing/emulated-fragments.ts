/** What a kernel on matrix units computes, on adapters without. */
export { emulatedFragments } from "@seqmix/testing";
