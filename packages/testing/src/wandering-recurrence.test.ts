import { cpu } from "@seqmix/tensor";
import { test } from "vitest";
import { checkWanderingRecurrence, type Wandering } from "./wandering-recurrence.js";

const device = cpu();
const recurrences: readonly Wandering[] = [
  { length: 2500, columns: 30, jump: 50, decays: "real" },
  { length: 4200, columns: 17, jump: 5, decays: "real", reverse: true },
  { length: 9000, columns: 1, jump: 15, decays: "real" },
  { length: 2500, columns: 30, jump: 20, decays: "complex" },
  { length: 3000, columns: 30, jump: 3, decays: "powers" },
];

test.each(recurrences)("states that wander over the range of numbers: %o", (of) =>
  checkWanderingRecurrence(device, of),
);
