// docs/dependencies.md: who imports whom, drawn by dependency-cruiser from the sources. `node scripts/pictures.mjs` writes the
// page, `--check` fails where it is out of date.
import { cruise } from "dependency-cruiser";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import rules from "../.dependency-cruiser.mjs";
import { root } from "./pnpm.mjs";

const page = "docs/dependencies.md";
process.chdir(root);

/** What is imported when the code runs, with one box for each folder that `collapse` matches. Arrows are sorted: the order of imports makes no difference. */
async function drawing(sources, includeOnly, collapse) {
  const options = { ...rules.options, tsConfig: undefined, tsPreCompilationDeps: false, includeOnly, collapse };
  const exclude = { path: "(\\.test\\.ts$|/src/testing/|/dist/|^packages/(testing|software-gpu)/)" };
  const { output } = await cruise(
    sources,
    { ...options, exclude, outputType: "mermaid" },
    rules.options.enhancedResolveOptions,
  );
  const lines = output.trim().split("\n");
  const isArrow = (line) => line.includes("-->");
  return [...lines.filter((line) => !isArrow(line)), ...lines.filter(isArrow).sort()].join("\n");
}

/** A drawing without the arrows to a box that nearly all others stand on. */
function without(name, mermaid) {
  const id = new RegExp(`^(\\w+)\\["${name}"\\]$`, "m").exec(mermaid)[1];
  return mermaid
    .split("\n")
    .filter((line) => !line.endsWith(`-->${id}`))
    .join("\n");
}

const packages = without("tensor", await drawing(["packages"], "^packages/", "^packages/[^/]+"));
const rooms = await drawing(
  ["packages/tensor/src"],
  "^packages/tensor/src/",
  "^packages/tensor/src/(devices/[^/.]+|[^/.]+)(?=/)",
);
const text = `# Who imports whom

Drawn by dependency-cruiser from the sources (\`pnpm run pictures\`); \`npm test\` fails when it is out of date. An arrow goes from
a folder to one that it imports when it runs; imports of types alone are left out. Which arrows may be is in
\`.dependency-cruiser.mjs\`, and in words in [ARCHITECTURE.md](../ARCHITECTURE.md).

## Packages

All of them stand on \`tensor\`: the arrows to it are left out.

\`\`\`mermaid
${packages}
\`\`\`

## The rooms of tensor

\`graph\` reaches \`devices\` by a dynamic import alone, so that a page on WebGPU does not load the CPU device.

\`\`\`mermaid
${rooms}
\`\`\`
`;

const before = existsSync(page) ? readFileSync(join(root, page), "utf8") : "";
if (text === before) console.log("pictures: up to date");
else if (process.argv.includes("--check")) {
  console.error(`Out of date: ${page}; run node scripts/pictures.mjs and commit what it writes.`);
  process.exitCode = 1;
} else {
  writeFileSync(page, text);
  console.log(`pictures: wrote ${page}`);
}
