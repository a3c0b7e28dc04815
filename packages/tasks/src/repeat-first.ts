import { defineTask, laptopBudget } from "./define-task.js";
import { generatedTask } from "./generated-task.js";
import { episodesOfCards, popgymSource, SUITS } from "./popgym-cards.js";

/** Settings of {@link repeatFirst}. */
export type RepeatFirstConfig = {
  /** Decks of an episode; 52 cards each. */
  readonly decks: number;
  /** Cards of a sequence, which holds as many episodes as begin in it. */
  readonly L: number;
  /** Whether a model that takes resets is told where episodes begin ("given"), or only the token of the first card says so ("hidden"). */
  readonly resets: "given" | "hidden";
  /** Sequences that a split is measured by. */
  readonly evaluationSequences: number;
};

/**
 * Repeat first of POPGym as supervised learning: at every card the suit of the episode's first one.
 *
 * Episodes follow each other within a sequence; `resets` says where one begins, for models that take it, and so does the token.
 */
export const repeatFirst = defineTask<RepeatFirstConfig>({
  id: "repeat-first",
  family: "memory",
  summary: "POPGym: say the suit of an episode's first card at every card, over episodes in one sequence",
  defaults: { decks: 1, L: 130, resets: "given", evaluationSequences: 128 },
  choices: { resets: ["given", "hidden"] },
  training: { ...laptopBudget, steps: 600 },
  scales: {
    smoke: { L: 60, steps: 30, warmup: 5, batch: 8, evaluationSequences: 32 },
    paper: { decks: 8, L: 1024 },
  },
  make: (config) =>
    generatedTask({
      id: "repeat-first",
      config,
      input: { vocabSize: 2 * SUITS },
      output: { classes: SUITS },
      answers: "positions",
      length: config.L,
      metric: "accuracy",
      chance: 1 / SUITS,
      packed: config.resets === "given",
      example: (random, values) => episodesOfCards(random, values, config.decks, () => 0),
    }),
  definition:
    "Decks of 52 cards are shuffled and shown by suit, one card a step; at every card the suit of the episode's first is due. A sequence holds several episodes, and the first card of each is marked.",
  tests:
    "Memory that must be forgotten at once: models whose state can be reset within a sequence (S5 for reinforcement learning) start every episode afresh.",
  source: `${popgymSource}, RepeatFirst: 1, 8 and 16 decks; Lu, Schroecker, Gu, Parisotto, Foerster, Singh and Behbahani, Structured State Space Models for In-Context Reinforcement Learning (2023).`,
  symbols: () => ["♠", "♥", "♦", "♣", "♠'", "♥'", "♦'", "♣'"],
});
