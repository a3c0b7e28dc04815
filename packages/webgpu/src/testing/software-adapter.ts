/**
 * A WebGPU adapter for tests on machines without a GPU: SwiftShader (Vulkan on the processor) and the Vulkan loader,
 * both out of the npm package `@sparticuz/chromium`. Node on Linux x86-64 and arm64; elsewhere the system's adapter is used.
 */
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { constants, tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { brotliDecompressSync } from "node:zlib";

/**
 * Makes SwiftShader the Vulkan driver of this process, unless the environment names one already. Call it before the first
 * adapter is asked for. SEQMIX_GPU=system leaves the machine's own driver in place.
 * @returns false where the system's adapter is to be used.
 * @throws Error saying what is missing.
 */
export function useSoftwareAdapter(): boolean {
  if (process.platform !== "linux" || process.env.SEQMIX_GPU === "system" || process.env.VK_DRIVER_FILES || process.env.VK_ICD_FILENAMES) return false;
  const folder = unpacked();
  process.env.VK_ICD_FILENAMES = join(folder, "vk_swiftshader_icd.json");
  try {
    // The loader stays in the process under its name, where Dawn finds it. It is no Node add-on, which Node reports as an error.
    const RTLD_NODELETE = 0x1000;
    process.dlopen({ exports: {} }, join(folder, "libvulkan.so.1"), constants.dlopen.RTLD_NOW | constants.dlopen.RTLD_GLOBAL | RTLD_NODELETE);
  } catch (error) {
    if (!String(error).includes("did not self-register")) throw new Error(`software adapter: the Vulkan loader in ${folder} did not load; delete the folder and install again`, { cause: error });
  }
  return true;
}

/** The folder with the libraries; unpacked once a version, and moved into place in one step so that test processes do not meet. */
function unpacked(): string {
  const bin = join(dirname(packageFile()), "bin");
  const archive = join(bin, "swiftshader.tar.br");
  const { version } = JSON.parse(readFileSync(packageFile(), "utf8")) as { version: string };
  const folder = join(tmpdir(), `seqmix-swiftshader-${version}-${process.arch}-${process.getuid?.() ?? 0}`);
  if (existsSync(folder)) return folder;
  const scratch = mkdtempSync(`${folder}-`);
  for (const { name, data } of entriesOf(brotliDecompressSync(readFileSync(archive)))) writeFileSync(join(scratch, basename(name)), data, { mode: 0o755 });
  try {
    renameSync(scratch, folder);
  } catch (error) {
    rmSync(scratch, { recursive: true, force: true });
    if (!existsSync(folder)) throw error;
  }
  return folder;
}

function packageFile(): string {
  try {
    // The package exports its entry only: build/esm/index.js or similar, below the folder that is looked for.
    const require = createRequire(import.meta.url);
    let folder = dirname(require.resolve("@sparticuz/chromium"));
    while (!existsSync(join(folder, "bin", "swiftshader.tar.br"))) {
      if (dirname(folder) === folder) throw new Error("bin/swiftshader.tar.br is missing");
      folder = dirname(folder);
    }
    return join(folder, "package.json");
  } catch (error) {
    throw new Error("software adapter: expected the development dependency @sparticuz/chromium, got none; install the workspace with its development dependencies", { cause: error });
  }
}

/** Regular files of a tar archive. */
function* entriesOf(tar: Buffer): Generator<{ readonly name: string; readonly data: Buffer }> {
  for (let at = 0; at + 512 <= tar.length && tar[at] !== 0; ) {
    const text = (from: number, length: number): string => tar.toString("latin1", at + from, at + from + length).replace(/\0.*$/s, "");
    const size = Number.parseInt(text(124, 12), 8);
    const isFile = text(156, 1) === "0" || text(156, 1) === "";
    if (isFile) yield { name: text(0, 100), data: tar.subarray(at + 512, at + 512 + size) };
    at += 512 + Math.ceil(size / 512) * 512;
  }
}
