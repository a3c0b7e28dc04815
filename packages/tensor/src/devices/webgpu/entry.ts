/** The entry point of a pass: how it is written, and how it is found again by what puts passes into others. */
import { indent } from "./program.js";

const PARAMETERS = [
  "@builtin(workgroup_id) id: vec3<u32>",
  "@builtin(num_workgroups) count: vec3<u32>",
  "@builtin(local_invocation_index) thread: u32",
];

const head = (threads: number, more: readonly string[]): string => `@compute @workgroup_size(${threads})
fn main(${[...PARAMETERS, ...more].join(", ")}) {
  let group = id.y * count.x + id.x;
`;

/**
 * The head of every entry point: `group` counts workgroups in one dimension, `thread` the invocations of one.
 * @param more Further parameters, with their attributes.
 */
export const entryPoint = (threads: number, body: string, more: readonly string[] = []): string =>
  `${head(threads, more)}${indent(body)}
}
`;

/** An entry point in a code. */
export interface EntryPoint {
  /** Invocations of a workgroup. */
  readonly threads: number;
  /** Parameters that {@link entryPoint} was given. */
  readonly more: readonly string[];
}

const ENTRY = /@compute @workgroup_size\((\d+)\)\nfn main\((.*)\) \{\n/;

/** The entry point that {@link entryPoint} wrote into a code; undefined where something else did. */
export function entryOf(code: string): EntryPoint | undefined {
  const [, threads, parameters] = ENTRY.exec(code) ?? [];
  const entry = { threads: Number(threads), more: parameters?.split(", ").slice(PARAMETERS.length) ?? [] };
  return code.includes(head(entry.threads, entry.more)) ? entry : undefined;
}

/** A parameter without its attribute, such as `subgroup: u32`. */
const plain = (parameter: string): string => parameter.slice(parameter.indexOf(") ") + 2);

/** The code with its entry point as a function `name(group, thread, ...)`, with the further parameters behind. */
export const withoutEntry = (code: string, { threads, more }: EntryPoint, name: string): string =>
  code.replace(head(threads, more), `fn ${name}(${["group: u32", "thread: u32", ...more.map(plain)].join(", ")}) {\n`);

/** The arguments of {@link withoutEntry}'s function in an entry point of the same further parameters. */
export const argumentsOf = ({ more }: EntryPoint, group: string): string =>
  [group, "thread", ...more.map((parameter) => plain(parameter).split(":")[0])].join(", ");
