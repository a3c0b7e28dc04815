/**
 * HiPPO matrices and their diagonal form, as numbers: what structured state spaces start from.
 *
 * @packageDocumentation
 */
export {
  diagonalizeLegs,
  hippoLegs,
  hippoLegsNormal,
  type HippoSystem,
  type LegsEigenvectors,
  type NormalPlusLowRank,
} from "./legs.js";
