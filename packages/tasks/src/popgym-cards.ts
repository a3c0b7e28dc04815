/** What the repeat tasks of POPGym share: decks of cards, several episodes in a sequence. */
import type { HostRandom } from "./host-random.js";
import type { ExampleValues } from "./generated-task.js";

/** Suits of a deck of 52. */
export const SUITS = 4;

/**
 * Episodes one behind the other until the sequence is full: each shuffles so many decks and shows their suits. The input is the
 * suit, plus 4 at the first card of an episode, where `resets` is 1 too.
 * @param due The place in the episode of the card whose suit is due at a place of it; undefined: nothing is.
 */
export function episodesOfCards(
  random: HostRandom,
  { inputs, targets, mask, resets }: ExampleValues,
  decks: number,
  due: (place: number) => number | undefined,
): void {
  const cards = Array.from({ length: 52 * decks }, (_, k) => k % SUITS);
  for (let start = 0; start < inputs.length; start += cards.length) {
    const shuffled = random.shuffled(cards);
    resets[start] = 1;
    for (let place = 0; place < cards.length && start + place < inputs.length; place++) {
      inputs[start + place] = shuffled[place]! + (place === 0 ? SUITS : 0);
      const wanted = due(place);
      if (wanted === undefined) continue;
      targets[start + place] = shuffled[wanted]!;
      mask[start + place] = 1;
    }
  }
}

/** Source of the tasks of POPGym. */
export const popgymSource =
  "Morad, Kortvelesy, Bettini, Liwicki and Prorok, POPGym: Benchmarking Partially Observable Reinforcement Learning (2023)";
