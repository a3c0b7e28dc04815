/** Files that tasks are made of, fetched from beside the page; in Node they are read from the installed packages. */
import type { ReadData, TaskData, TaskEntry } from "@seqmix/tasks";
import { dataFiles } from "./data-files.js";

const nameOf = ({ package: name, file }: TaskData): string => `${name}/${file}`;
const fetched = new Map<string, Uint8Array>();

/** Fetches the files of a task, once. @throws Error if one does not arrive. */
export async function fetchData({ data = [] }: TaskEntry): Promise<void> {
  for (const file of data) {
    const name = nameOf(file);
    if (fetched.has(name)) continue;
    const url = dataFiles[name];
    if (url === undefined) throw new Error(`Expected ${name} beside this page, got nothing; choose another task`);
    const response = await fetch(url);
    if (!response.ok)
      throw new Error(`Expected ${name} beside this page, got status ${response.status}; load the page again`);
    fetched.set(name, new Uint8Array(await response.arrayBuffer()));
  }
}

/** Gives what {@link fetchData} has fetched. */
export const readData: ReadData = (data) => fetched.get(nameOf(data))!;
