// Writes a page for every task into docs/tasks, and the list of tasks into the README of @seqmix/tasks; needs a build.
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { root } from "./pnpm.mjs";

const { taskList, taskPage, tasks } = await import(new URL("../apps/catalog/dist/index.js", import.meta.url).href);
const require = createRequire(new URL("../packages/tasks/package.json", import.meta.url));
const read = ({ package: name, file }) => readFileSync(require.resolve(`${name}/${file}`));

const folder = join(root, "docs/tasks");
mkdirSync(folder, { recursive: true });
for (const name of readdirSync(folder)) rmSync(join(folder, name));
for (const task of tasks) {
  const { markdown, picture } = await taskPage(task, read);
  writeFileSync(join(folder, `${task.id}.md`), markdown);
  if (picture !== undefined) writeFileSync(join(folder, `${task.id}.svg`), picture);
}

const readme = join(root, "packages/tasks/README.md");
const [begin, end] = ["<!-- tasks: written by scripts/task-pages.mjs -->\n", "<!-- end of tasks -->"];
const text = readFileSync(readme, "utf8");
const list = `${taskList(tasks, "../../docs/tasks")}\n`;
writeFileSync(readme, text.slice(0, text.indexOf(begin) + begin.length) + list + text.slice(text.indexOf(end)));
