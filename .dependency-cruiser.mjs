import { readdirSync } from "node:fs";

// The layers of ARCHITECTURE.md as rules: a package imports only the ones named on its line (and itself).
const layers = {
  // L0
  tensor: [],
  webgpu: ["tensor"],
  // An adapter and a Chromium for the tests and apps; never part of a product.
  "software-gpu": [],
  // L1: kernels
  hippo: ["tensor"],
  discretize: ["tensor"],
  fft: ["tensor"],
  lti: ["tensor", "fft", "hippo", "discretize"],
  scan: ["tensor"],
  "selective-scan": ["tensor", "scan", "discretize"],
  ssd: ["tensor", "scan"],
  "delta-rule": ["tensor", "scan", "ssd"],
  // L2: what a model is made of
  nn: ["tensor"],
  optim: ["tensor"],
  mixer: ["tensor", "nn", "optim"],
  checkpoint: ["tensor"],
  tasks: ["tensor"],
  testing: ["tensor", "nn", "mixer", "optim"],
};

// L3: every other package is an architecture. It imports L0 to L2, never another architecture, never webgpu.
const architectures = readdirSync("packages").filter((name) => !Object.hasOwn(layers, name));
const belowArchitectures = Object.keys(layers).filter((name) => name !== "webgpu" && name !== "testing");
for (const name of architectures) layers[name] = belowArchitectures;

// Tests may use @seqmix/testing wherever that makes no cycle of packages: not in tensor, nn, optim and mixer, which it stands on.
const test = "(\\.test\\.ts|/src/testing/.*\\.ts)$";
const under = (names) => `^packages/(${names.join("|")})/`;

const layerRules = Object.entries(layers).map(([name, allowed]) => ({
  name: `layer-of-${name}`,
  comment: `@seqmix/${name} may import ${allowed.length ? allowed.join(", ") : "no other package"}.`,
  severity: "error",
  from: { path: under([name]), pathNot: test },
  to: { path: "^(packages|apps)/", pathNot: under([name, ...allowed]) },
}));

const testRules = Object.entries(layers).map(([name, allowed]) => ({
  name: `layer-of-tests-of-${name}`,
  severity: "error",
  from: { path: `${under([name])}.*${test}` },
  to: {
    path: "^(packages|apps)/",
    pathNot: under([
      name,
      ...allowed,
      ...(["tensor", "nn", "optim", "mixer"].includes(name) ? [] : ["testing"]),
      ...(name === "webgpu" ? ["software-gpu"] : []),
    ]),
  },
}));

export default {
  forbidden: [
    ...layerRules,
    ...testRules,
    {
      name: "no-cycle",
      comment: "One place may: rows of the op table name each other in their gradients.",
      severity: "error",
      from: { pathNot: "^packages/tensor/src/ops/" },
      to: { circular: true, viaOnly: { dependencyTypesNot: ["type-only", "dynamic-import"] } },
    },
    {
      name: "only-through-the-index",
      comment:
        "A package is used through its src/index.ts (and tensor/wasm and tensor/wgsl by packages with programs of their own).",
      severity: "error",
      from: { path: "^(packages|apps)/([^/]+)/" },
      to: {
        path: "^packages/[^/]+/src/",
        pathNot: ["^packages/$2/", "^packages/[^/]+/src/index\\.ts$", "^packages/tensor/src/(wasm|wgsl|backend)\\.ts$"],
      },
    },
    {
      name: "no-webgpu-in-kernels-and-models",
      comment: "Kernel packages carry WGSL as text; only @seqmix/webgpu and the apps touch a GPU.",
      severity: "error",
      from: { path: "^packages/", pathNot: under(["webgpu"]) },
      to: { path: "(^packages/webgpu/|node_modules/(webgpu|@webgpu)/)" },
    },
    {
      name: "no-test-in-product",
      severity: "error",
      from: { pathNot: test },
      to: { path: test },
    },
    {
      name: "no-vague-names",
      comment: "Name the file after what it does.",
      severity: "error",
      from: {},
      to: { path: "/src/.*(utils?|helpers?|misc|[mM]anager|common)\\.ts$" },
    },
    { name: "resolvable", severity: "error", from: {}, to: { couldNotResolve: true } },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    exclude: { path: "(^|/)dist/" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.base.json" },
    enhancedResolveOptions: {
      exportsFields: ["exports"],
      conditionNames: ["source", "import", "node", "types", "default"],
    },
  },
};
