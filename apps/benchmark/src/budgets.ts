import type { Settings } from "./settings.js";

/**
 * Every default of a trial in one table, and with it the quickstart's budget: all mixers get the same.
 * `steps` times `batch` times L is the tokens trained on; `lr` is the peak after `warmup` steps, then half a cosine to 0.
 */
export const budgets = {
  "selective-copying": {
    task: { vocabSize: 16, dataTokens: 8, L: 40 },
    training: { steps: 1500, batch: 32, lr: 5e-3, warmup: 50, clip: 1, weightDecay: 0.01 },
  },
  "moby-dick": {
    task: { L: 128 },
    training: { steps: 1000, batch: 16, lr: 5e-3, warmup: 50, clip: 1, weightDecay: 0.01 },
  },
} as const satisfies Readonly<Record<string, { readonly task: Settings; readonly training: Settings }>>;

/**
 * The quickstart's mixers, each trained on every task, and their settings. S4D gets what Mamba's state-space layer starts
 * from, N = 16 and the real eigenvalues -1 .. -N, so that the dynamics of the two differ in selection alone. With its own
 * defaults (complex eigenvalues) S4D is stronger on selective copying: 74 % after this budget.
 */
export const quickstartMixers = { mamba: {}, s4d: { dState: 16, init: "real" }, attention: {} } as const satisfies Readonly<Record<string, Settings>>;

/** The network around the mixer. A mixer's own defaults are in its package. */
export const networkDefaults = { dModel: 64, nLayers: 2 } as const satisfies Settings;

/** Measurements of the validation split during training, the one after the last step included. */
export const validationPoints = 8;

/** Points of the training curve; each is the mean loss since the one before. */
export const curvePoints = 60;

/** Seconds between two snapshots of a running trial. */
export const snapshotSeconds = 10;
