import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { pnpm, root } from "./pnpm.mjs";

/** Every package meant for publishing: `{ name, folder, manifest }`. */
export function publicPackages() {
  return readdirSync(join(root, "packages"))
    .sort()
    .map((folder) => ({
      folder: join("packages", folder),
      manifest: JSON.parse(readFileSync(join(root, "packages", folder, "package.json"), "utf8")),
    }))
    .filter(({ manifest }) => !manifest.private)
    .map((entry) => ({ ...entry, name: entry.manifest.name }));
}

/** Packs the built packages as they would be published; resolves to a map from name to tarball path. */
export async function pack(names, destination) {
  const filters = names.flatMap((name) => ["--filter", name]);
  const { code, output } = await pnpm(["--recursive", ...filters, "pack", "--pack-destination", destination]);
  if (code !== 0) throw new Error(`pnpm pack failed (exit code ${code}):\n${output}`);
  const tarballs = new Map();
  for (const { name, manifest } of publicPackages()) {
    if (names.includes(name))
      tarballs.set(name, join(destination, `${name.replace("@", "").replace("/", "-")}-${manifest.version}.tgz`));
  }
  return tarballs;
}
