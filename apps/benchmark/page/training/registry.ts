/** What trials can be made of in a page: everything that the command line has. */
import { mixers, tasks } from "@seqmix/catalog";
import type { Registry } from "../../src/trials/trial.js";

/** The catalog. */
export const registry: Registry = { tasks, mixers };
