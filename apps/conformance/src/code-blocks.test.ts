// Every block of code in the READMEs and the documentation runs as it stands.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { useSoftwareAdapter } from "@seqmix/software-gpu";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

useSoftwareAdapter();

const root = join(import.meta.dirname, "../../..");
const pages = ["README.md", ...below("packages", (path) => path.endsWith("/README.md")), ...below("docs", isPage)];
const blocks = pages.flatMap((page) =>
  [...readFileSync(join(root, page), "utf8").matchAll(/^```ts\n(.*?)^```$/gms)].map(
    ([, code], k) => [`${page}, block ${k + 1}`, page, k, code!] as const,
  ),
);

beforeEach(() => {
  // What examples print is theirs.
  vi.spyOn(console, "log").mockImplementation(() => undefined);
});
afterEach(() => vi.restoreAllMocks());

test.each(blocks.filter(([, , , code]) => /^import /m.test(code)))(
  "%s",
  async (_, page, k) => {
    await expect(import(/* @vite-ignore */ `virtual:block/${page}/${k}.ts`)).resolves.toBeDefined();
  },
  60_000,
);

function isPage(path: string): boolean {
  return path.endsWith(".md") && !path.startsWith("docs/api/");
}

function below(folder: string, wanted: (path: string) => boolean): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .map((path) => join(folder, path))
    .filter((path) => !path.includes("node_modules") && wanted(path))
    .sort();
}
