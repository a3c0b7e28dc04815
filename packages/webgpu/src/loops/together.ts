/**
 * Several passes as one dispatch: each takes some of the workgroups. A dispatch takes a GPU some microseconds and the host
 * more, which is all the time of a small kernel. The passes may not wait for each other.
 */
import {
  declare,
  declareParameters,
  entryOf,
  entryPoint,
  indent,
  withoutEntry,
  type EntryPoint,
  type GpuBinding,
  type GpuLimits,
  type GpuPass,
} from "@seqmix/tensor/wgsl";

/** Bytes of workgroup memory of a dispatch, and passes in it: texts grow with them. */
const MOST_BYTES = 16384,
  MOST_PASSES = 8;

const DECLARATION = /^@group\(0\) @binding\(\d+\) var<storage, (?:read|read_write)> (\w+): array<(.+)>;\n/gm;
const NAMES = /^(?:fn|struct|const|alias) (\w+)|^var<[^>]+> (\w+)/gm;
const WORKGROUP = /var<workgroup> \w+: array<(?:vec(\d)<)?\w+>?, (\d+)>/g;

/** A pass taken apart. */
interface Parts {
  readonly pass: GpuPass;
  readonly entry: EntryPoint;
  /** Of each binding, its name and the type of its elements. */
  readonly bindings: readonly { readonly name: string; readonly type: string }[];
  readonly bytes: number;
}

/** undefined for what cannot be one of several. */
function partsOf(pass: GpuPass): Parts | undefined {
  const entry = entryOf(pass.code);
  const bindings = [...pass.code.matchAll(DECLARATION)].map(([, name, type]) => ({ name: name!, type: type! }));
  if (!entry || entry.more.length > 0 || pass.parameters || bindings.length !== pass.buffers.length) return undefined;
  if (pass.buffers.some(({ window }) => window)) return undefined;
  const bytes = [...pass.code.matchAll(WORKGROUP)].reduce(
    (sum, [, width, length]) => sum + 4 * Number(width ?? 1) * Number(length),
    0,
  );
  return { pass, entry, bindings, bytes };
}

/** Whether passes are written such that they can share dispatches. */
export const canRunTogether = (pass: GpuPass): boolean => partsOf(pass) !== undefined;

/** @param passes None waits for another. @returns As few as the limits allow, of all work. */
export function runTogether(passes: readonly GpuPass[], { buffers: most }: Pick<GpuLimits, "buffers">): GpuPass[] {
  const done: GpuPass[] = [];
  const open = new Map<number, Parts[]>();
  const close = (parts: readonly Parts[]): void => void done.push(parts.length === 1 ? parts[0]!.pass : joined(parts));
  for (const pass of passes) {
    const parts = partsOf(pass);
    if (!parts) {
      done.push(pass);
      continue;
    }
    const { threads } = parts.entry;
    const before = open.get(threads) ?? [];
    const all = [...before, parts];
    const fits =
      all.length <= MOST_PASSES &&
      bindingsOf(all).length <= most &&
      all.reduce((sum, { bytes }) => sum + bytes, 0) <= MOST_BYTES;
    if (fits || before.length === 0) open.set(threads, all);
    else {
      close(before);
      open.set(threads, [parts]);
    }
  }
  for (const parts of open.values()) close(parts);
  return done;
}

interface Shared {
  readonly binding: GpuBinding;
  readonly name: string;
  readonly type: string;
}

/** What all of them bind: once what several read as the same. */
function bindingsOf(all: readonly Parts[]): Shared[] {
  const known = new Map<string, Shared>();
  all.forEach(({ pass, bindings }, q) =>
    bindings.forEach(({ name, type }, k) => {
      const binding = pass.buffers[k]!;
      const key = `${binding.buffer} ${binding.access} ${type}`;
      if (!known.has(key)) known.set(key, { binding, name: `${name}_${q}`, type });
    }),
  );
  return [...known.values()];
}

function joined(all: readonly Parts[]): GpuPass {
  const shared = bindingsOf(all);
  const texts = all.map(({ pass, entry, bindings }, q) => {
    const names = new Map<string, string>();
    for (const [, called, variable] of pass.code.matchAll(NAMES)) {
      const name = (called ?? variable)!;
      names.set(name, `${name}_${q}`);
    }
    bindings.forEach(({ name, type }, k) => {
      const { buffer, access } = pass.buffers[k]!;
      const found = shared.find(
        (each) => each.binding.buffer === buffer && each.binding.access === access && each.type === type,
      );
      names.set(name, found!.name);
    });
    return withoutEntry(pass.code, entry, "main")
      .replace(DECLARATION, "")
      .replace(/(?<![.\w])[A-Za-z_]\w*/g, (word) => (word === "main" ? `main_${q}` : (names.get(word) ?? word)));
  });
  let groups = 0;
  const ends = all.map(({ pass }) => (groups += pass.groups));
  const parameters = Object.fromEntries(ends.map((end, q) => [`end${q}`, end]));
  const choice = all
    .map((_, q) => {
      const from = q === 0 ? "group" : `group - u32(p.end${q - 1})`;
      return `if (group < u32(p.end${q})) {\n${indent(`main_${q}(${from}, thread);`)}\n}`;
    })
    .join(" else ");
  return {
    code: `${shared.map(({ binding, name, type }, k) => declare(k, name, binding.access, type)).join("")}${declareParameters(shared.length, parameters)}${texts.join("")}${entryPoint(all[0]!.entry.threads, choice)}`,
    buffers: shared.map(({ binding }) => binding),
    parameters,
    groups,
  };
}
