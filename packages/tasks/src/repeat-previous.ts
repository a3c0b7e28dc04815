import { defineTask, laptopBudget } from "./define-task.js";
import { generatedTask } from "./generated-task.js";
import { episodesOfCards, popgymSource, SUITS } from "./popgym-cards.js";

/** Settings of {@link repeatPrevious}. */
export type RepeatPreviousConfig = {
  /** k: how many cards back the suit is due; below the cards of an episode. */
  readonly back: number;
  /** Decks of an episode; 52 cards each. */
  readonly decks: number;
  /** Cards of a sequence, which holds as many episodes as begin in it. */
  readonly L: number;
  /** Whether a model that takes resets is told where episodes begin ("given"), or only the token of the first card says so ("hidden"). */
  readonly resets: "given" | "hidden";
  /** Sequences that a split is measured by. */
  readonly evaluationSequences: number;
};

/** Repeat previous of POPGym as supervised learning: at every card the suit of the one k cards before, within the episode. */
export const repeatPrevious = defineTask<RepeatPreviousConfig>({
  id: "repeat-previous",
  family: "memory",
  summary: "POPGym: say the suit of the card k cards ago, over episodes in one sequence",
  defaults: { back: 4, decks: 1, L: 130, resets: "given", evaluationSequences: 128 },
  choices: { resets: ["given", "hidden"] },
  training: { ...laptopBudget, steps: 600 },
  scales: {
    smoke: { back: 2, L: 60, steps: 30, warmup: 5, batch: 8, evaluationSequences: 32 },
    paper: { back: 64, decks: 3, L: 1024 },
  },
  make(config) {
    const { back, decks, L, resets } = config;
    if (back >= 52 * decks || back >= L)
      throw new RangeError(
        `repeat-previous: expected back below the ${52 * decks} cards of an episode and L=${L}, got ${back}; lower it`,
      );
    return generatedTask({
      id: "repeat-previous",
      config,
      input: { vocabSize: 2 * SUITS },
      output: { classes: SUITS },
      answers: "positions",
      length: L,
      metric: "accuracy",
      chance: 1 / SUITS,
      packed: resets === "given",
      example: (random, values) =>
        episodesOfCards(random, values, decks, (place) => (place < back ? undefined : place - back)),
    });
  },
  definition:
    "Decks of 52 cards are shuffled and shown by suit, one card a step; at every card, from the k-th of an episode on, the suit of the card k cards before is due. A sequence holds several episodes, and the first card of each is marked.",
  tests: "A queue of k suits, kept exactly and moved on at every step.",
  source: `${popgymSource}, RepeatPrevious: k = 4 with 1 deck, 32 with 2, 64 with 3.`,
  symbols: () => ["♠", "♥", "♦", "♣", "♠'", "♥'", "♦'", "♣'"],
});
