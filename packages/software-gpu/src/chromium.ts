/** The Chromium inside the npm package `@sparticuz/chromium`, or the one that the environment names. */
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { unpacked } from "./unpack.js";

/** A program to start, with its environment. */
export interface ChromiumProgram {
  /** Path of the program. */
  readonly executable: string;
  /** Environment variables to start it with. */
  readonly env: Readonly<Record<string, string>>;
  /** Flags to start it with: headless, WebGPU on the software adapter. */
  readonly args: readonly string[];
}

// Workgroup memory that is not cleared takes a third of the time to compile, and shows what reads it before writing, as in Node.
const ARGS = [
  "--no-sandbox",
  "--enable-unsafe-webgpu",
  "--enable-features=Vulkan",
  "--use-webgpu-adapter=swiftshader",
  "--use-vulkan=swiftshader",
  "--use-angle=swiftshader",
  "--enable-unsafe-swiftshader",
  "--enable-dawn-features=disable_workgroup_init",
  "--disable-background-networking",
  "--disable-component-update",
  "--no-first-run",
] as const;

/**
 * SEQMIX_CHROMIUM names a program; otherwise the one of the npm package is unpacked, with the shared libraries it carries.
 * @throws Error if there is none for this machine.
 */
export function findChromium(): ChromiumProgram {
  const env = Object.fromEntries(
    Object.entries(process.env).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
  const named = process.env.SEQMIX_CHROMIUM;
  if (named) {
    if (!existsSync(named))
      throw new Error(`SEQMIX_CHROMIUM: expected the path of a Chromium, got ${named}, which does not exist`);
    return { executable: named, env, args: ARGS };
  }
  if (process.platform !== "linux" || process.arch !== "x64")
    throw new Error(
      `Chromium: the npm package has one for linux x64, but this is ${process.platform} ${process.arch}; set SEQMIX_CHROMIUM to the path of a Chromium or Chrome`,
    );
  const folder = unpacked("chromium", ["chromium.br", "swiftshader.tar.br", "al2023.tar.br", "fonts.tar.br"]);
  const libraries = [folder, join(folder, "lib"), process.env.LD_LIBRARY_PATH].filter(
    (path) => path !== undefined && path !== "",
  );
  return {
    executable: join(folder, "chromium"),
    args: ARGS,
    env: { ...env, LD_LIBRARY_PATH: libraries.join(delimiter), FONTCONFIG_PATH: join(folder, "fonts") },
  };
}
