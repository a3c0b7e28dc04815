import { defaultServerConditions } from "vite";
import { defineConfig } from "vitest/config";
import { codeBlocks } from "./scripts/code-blocks.js";

// "source" makes every @seqmix import load the package's src: tests need no build.
const conditions = ["source", ...defaultServerConditions];

export default defineConfig({
  plugins: [codeBlocks()],
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ["packages/*/src/**/*.test.ts", "apps/*/{src,page}/**/*.test.ts"],
    // Child processes: the cpu device starts its own worker threads, and two cores bear two test files.
    pool: "forks",
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 30_000,
  },
});
