import { basename, join, resolve } from "node:path";
import { writeFileAtomically } from "../results/atomic-file.js";
import type { Row } from "../results/results.js";
import { tasks } from "../trials/tasks.js";

/** Writes report.html into the folder and returns its path. */
export async function writeReport(folder: string, rows: readonly Row[], verdict?: string): Promise<string> {
  // Drawing is loaded when it is needed: training starts sooner without it.
  const { reportPage } = await import("./page.js");
  const path = join(folder, "report.html");
  const text = {
    title: `seqmix: ${basename(resolve(folder))}`,
    tasks: Object.fromEntries(tasks.map(({ id, summary }) => [id, summary])),
    ...(verdict === undefined ? {} : { verdict }),
  };
  writeFileAtomically(path, reportPage(rows, text));
  return path;
}
