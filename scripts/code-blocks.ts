// A plugin that makes a module of each block of code in a Markdown page: "virtual:block/PAGE/NUMBER.ts".
import { readFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";
import type { Plugin } from "vite";

const root = join(import.meta.dirname, "..");

const PREFIX = "virtual:block/";
const resolved = (id: string): string => `\0${id}`;

/** Packages are imported by their names, from source. */
export const codeBlocks = (): Plugin => ({
  name: "code-blocks",
  enforce: "pre",
  resolveId(id, importer) {
    if (id.startsWith(PREFIX)) return resolved(id);
    if (!importer?.startsWith(resolved(PREFIX))) return undefined;
    const [, name, entry = "index"] = /^@seqmix\/([\w-]+)(?:\/([\w-]+))?$/.exec(id) ?? [];
    return name === undefined ? undefined : join(root, "packages", name, "src", `${entry}.ts`);
  },
  load(id) {
    if (!id.startsWith(resolved(PREFIX))) return undefined;
    const [, page, number] = /^(.*)\/(\d+)\.ts$/.exec(id.slice(resolved(PREFIX).length))!;
    const found = [...readFileSync(join(root, page!), "utf8").matchAll(/^```ts\n(.*?)^```$/gms)];
    const compilerOptions = { target: ts.ScriptTarget.ESNext, module: ts.ModuleKind.ESNext };
    return ts.transpileModule(found[Number(number)]![1]!, { compilerOptions }).outputText;
  },
});
