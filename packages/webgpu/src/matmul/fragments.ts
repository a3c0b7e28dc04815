/** Texts of matrix units, which packages with programs of their own use too. */
export { FRAGMENT, matrixUnits, type FragmentTexts } from "@seqmix/tensor/wgsl";
