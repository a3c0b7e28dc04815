// The pages of tasks are those that the tasks would write today: `pnpm run task-pages` writes them.
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { expect, test } from "vitest";
import { taskList, taskPage, tasks } from "./index.js";

const folder = new URL("../../../docs/tasks/", import.meta.url);
const require = createRequire(new URL("../../../packages/tasks/package.json", import.meta.url));

test.each(tasks.map((task) => [task.id, task] as const))("%s: its page is of today", async (id, task) => {
  const { markdown, picture } = await taskPage(task, ({ package: name, file }) =>
    readFileSync(require.resolve(`${name}/${file}`)),
  );
  expect(readFileSync(new URL(`${id}.md`, folder), "utf8")).toBe(markdown);
  if (picture !== undefined) expect(readFileSync(new URL(`${id}.svg`, folder), "utf8")).toBe(picture);
  // No part is empty.
  expect(markdown).not.toMatch(/undefined|NaN/);
  for (const part of [task.summary, task.definition, task.tests, task.source]) expect(part.length).toBeGreaterThan(10);
});

test("the README lists every task, and no page is left of one that is gone", () => {
  const readme = readFileSync(new URL("../../../packages/tasks/README.md", import.meta.url), "utf8");
  expect(readme).toContain(taskList(tasks, "../../docs/tasks"));
  const ids = readdirSync(folder).map((name) => name.replace(/\.(md|svg)$/, ""));
  expect(new Set(ids)).toEqual(new Set(tasks.map(({ id }) => id)));
});
