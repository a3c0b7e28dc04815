// The lists of packages that files of the root repeat, made from packages/* and apps/*: `node scripts/packages.mjs` writes
// them, `--check` fails where one is out of date.
import { readFileSync, readdirSync, writeFileSync, existsSync } from "node:fs";
import { join } from "node:path";
import { root } from "./pnpm.mjs";

const check = process.argv.includes("--check");
const read = (path) => readFileSync(join(root, path), "utf8");
const members = ["packages", "apps"].flatMap((folder) =>
  readdirSync(join(root, folder))
    .sort()
    .filter((name) => existsSync(join(root, folder, name, "package.json")))
    .map((name) => ({ path: `${folder}/${name}`, manifest: JSON.parse(read(`${folder}/${name}/package.json`)) })),
);
const pathOf = new Map(members.map(({ path, manifest }) => [manifest.name, path]));

const stale = [];
function update(path, next) {
  if (next === read(path)) return;
  stale.push(path);
  if (!check) writeFileSync(join(root, path), next);
}

/** The text with the list of `references` in its place. */
function withReferences(path, references) {
  const text = read(path);
  const list = references.map((each) => `\n    { "path": "${each}" }`).join(",");
  return text.replace(/"references": \[[^\]]*\]/, `"references": [${list}${list === "" ? "" : "\n  "}]`);
}

// The catalog needs what its sources import; what only its `testing` folder imports is for development.
const catalog = members.find(({ path }) => path === "apps/catalog");
const imported = members
  .map(({ manifest }) => manifest.name)
  .filter((name) => sourcesImport(catalog.path, name, (file) => !file.startsWith("testing/")))
  .sort();
catalog.manifest.dependencies = Object.fromEntries(imported.map((name) => [name, "workspace:^"]));
update("apps/catalog/package.json", `${JSON.stringify(catalog.manifest, null, 2)}\n`);

// A package builds after those that its sources import.
for (const { path, manifest } of members) {
  const needed = { ...manifest.dependencies, ...manifest.peerDependencies };
  const references = Object.keys(needed).flatMap((name) => (pathOf.has(name) ? [pathOf.get(name)] : []));
  const dev = Object.keys(manifest.devDependencies ?? {}).filter((name) => sourcesImport(path, name));
  const all = [...references, ...dev.flatMap((name) => (pathOf.has(name) ? [pathOf.get(name)] : []))].sort();
  update(
    `${path}/tsconfig.json`,
    withReferences(
      `${path}/tsconfig.json`,
      all.map((each) => `../../${each}`),
    ),
  );
}

/** Whether a source file that is no test imports the package. */
function sourcesImport(path, name, isCounted = () => true) {
  return readdirSync(join(root, path, "src"), { recursive: true })
    .filter((file) => file.endsWith(".ts") && !file.endsWith(".test.ts") && isCounted(file))
    .some((file) => {
      const text = read(`${path}/src/${file}`);
      return text.includes(`from "${name}"`) || text.includes(`from "${name}/`);
    });
}

update(
  "tsconfig.json",
  withReferences(
    "tsconfig.json",
    members.map(({ path }) => path),
  ),
);
update(
  "tsconfig.tests.json",
  withReferences(
    "tsconfig.tests.json",
    members.map(({ path }) => `./${path}`),
  ),
);

const rows = members.map(({ path, manifest }) => {
  const name = path.startsWith("apps/") ? path : manifest.name;
  return `| [\`${name}\`](${path}/README.md) | ${manifest.description} |`;
});
update(
  "README.md",
  read("README.md").replace(
    /\| package \| what it is \|\n(\|.*\n)+/,
    `| package | what it is |\n|---|---|\n${rows.join("\n")}\n`,
  ),
);

if (check && stale.length > 0) {
  console.error(`Out of date: ${stale.join(", ")}; run node scripts/packages.mjs and commit what it writes.`);
  process.exitCode = 1;
} else {
  console.log(stale.length === 0 ? "packages: every list is up to date" : `packages: wrote ${stale.join(", ")}`);
}
