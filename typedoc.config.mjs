import { katex } from "@mdit/plugin-katex";

/** @type {Partial<import("typedoc").TypeDocOptions>} */
export default {
  name: "seqmix",
  readme: "README.md",
  projectDocuments: ["ARCHITECTURE.md", "CONTRIBUTING.md", "docs/*.md", "docs/architectures/*.md", "docs/tasks/*.md"],
  entryPointStrategy: "packages",
  entryPoints: ["packages/*"],
  packageOptions: {
    entryPoints: ["src/index.ts"],
    readme: "README.md",
    excludeInternal: true,
    excludePrivate: true,
    disableSources: true,
    validation: { notExported: true, invalidLink: true, notDocumented: true },
  },
  out: "docs/api",
  includeVersion: false,
  ignoredHighlightLanguages: ["mermaid"],
  disableSources: true,
  treatWarningsAsErrors: true,
  treatValidationWarningsAsErrors: true,
  validation: { notExported: true, invalidLink: true, notDocumented: true },
  // Formulas are written $...$ or $$...$$; MathML needs neither a style sheet nor fonts.
  markdownItLoader: (parser) => void parser.use(katex, { output: "mathml" }),
};
