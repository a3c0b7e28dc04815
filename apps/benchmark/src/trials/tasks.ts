/** Every task a trial can name: the catalog's. */
export { tasks } from "@seqmix/catalog";
export type { TaskEntry } from "@seqmix/tasks";
