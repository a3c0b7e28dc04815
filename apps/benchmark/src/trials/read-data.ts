import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { TaskData } from "@seqmix/tasks";
import { UsageError } from "../commands/usage-error.js";

const contents = new Map<string, Uint8Array>();

/** The content of a file of an installed package, the same bytes every time: the package's own loader may bring in hundreds of others. */
export function readData(data: TaskData): Uint8Array {
  const name = `${data.package}/${data.file}`;
  let content = contents.get(name);
  if (!content) {
    try {
      content = readFileSync(createRequire(import.meta.url).resolve(name));
    } catch (error) {
      throw new UsageError(`Expected the package ${data.package} with ${data.file}; install it`, { cause: error });
    }
    contents.set(name, content);
  }
  return content;
}
