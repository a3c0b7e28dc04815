/** What a plan keeps in memory while it runs. */
import { formatShape, type Shape } from "../graph/shape.js";
import type { Plan } from "./plan.js";

/** A block of memory that is in use. */
export interface Alive {
  readonly slot: number;
  readonly bytes: number;
  /** What it is: an input, a result, or between two kernels. */
  readonly use: "input" | "constant" | "result" | "temporary";
  /** The kernel that writes it; none for inputs. */
  readonly kernel: string | undefined;
}

export interface Peak {
  readonly bytes: number;
  /** Number of the kernel at which most is in use. */
  readonly step: number;
  /** Largest first. */
  readonly alive: readonly Alive[];
}

/** Where most memory is in use. Inputs and results are there for the whole run, the rest from its first kernel to its last. */
export function peakOf({ slots, leafCount, constants, steps, roots }: Plan): Peak {
  const made = new Map<number, number>();
  const lastUse = new Map<number, number>();
  steps.forEach(({ inputs, outputs }, k) => {
    for (const slot of outputs) made.set(slot, k);
    for (const slot of [...inputs, ...outputs]) lastUse.set(slot, k);
  });
  const isRoot = new Set(roots);
  const isConstant = new Set(constants.map(({ slot }) => slot));
  const uses = slots.map((_, slot): Alive["use"] =>
    slot < leafCount ? "input" : isConstant.has(slot) ? "constant" : isRoot.has(slot) ? "result" : "temporary",
  );
  const bytesOf = (slot: number): number => slots[slot]!.size * (slots[slot]!.dtype === "f16" ? 2 : 4);
  const changes = new Array<number>(steps.length + 1).fill(0);
  let always = 0;
  slots.forEach((_, slot) => {
    if (uses[slot] !== "temporary") always += bytesOf(slot);
    else if (made.has(slot)) {
      changes[made.get(slot)!]! += bytesOf(slot);
      changes[lastUse.get(slot)! + 1]! -= bytesOf(slot);
    }
  });
  let [now, most, step] = [0, 0, 0];
  changes.forEach((change, k) => {
    now += change;
    if (now > most) [most, step] = [now, k];
  });
  const alive = slots.flatMap((_, slot): Alive[] => {
    const use = uses[slot]!;
    if (use === "temporary" && !(made.get(slot)! <= step && lastUse.get(slot)! >= step)) return [];
    return [{ slot, bytes: bytesOf(slot), use, kernel: made.has(slot) ? steps[made.get(slot)!]!.name : undefined }];
  });
  return { bytes: always + most, step, alive: alive.sort((a, b) => b.bytes - a.bytes) };
}

/** Blocks that are listed one by one. */
const LISTED = 16;

/** The peak as lines of text. */
export function describePeak(plan: Plan): string[] {
  const { bytes, step, alive } = peakOf(plan);
  const sums = new Map<Alive["use"], number>();
  for (const each of alive) sums.set(each.use, (sums.get(each.use) ?? 0) + each.bytes);
  const parts = [...sums]
    .map(([use, sum]) => `${inUnits(sum)} of ${use === "temporary" ? "temporaries" : `${use}s`}`)
    .join(", ");
  const rest = alive.slice(LISTED);
  return [
    `# memory: ${inUnits(bytes)} at kernel ${step + 1} of ${plan.steps.length}${plan.steps[step] ? `, ${plan.steps[step].name}` : ""}: ${parts}`,
    ...alive.slice(0, LISTED).map(({ slot, bytes: own, use, kernel }) => {
      const { dtype, shape, line } = plan.slots[slot]!;
      return `#   ${inUnits(own).padStart(9)} ${use} ${dtype} ${shapeText(shape)}${kernel ? ` of ${kernel}` : ""}${line ? `, made at ${line}` : ""}`;
    }),
    ...(rest.length > 0
      ? [`#   ${inUnits(rest.reduce((sum, each) => sum + each.bytes, 0)).padStart(9)} in ${rest.length} smaller ones`]
      : []),
  ];
}

const shapeText = (shape: Shape): string => formatShape(shape);

function inUnits(bytes: number): string {
  const units = ["B", "kB", "MB", "GB"];
  let [value, unit] = [bytes, 0];
  while (value >= 1000 && unit < 3) [value, unit] = [value / 1000, unit + 1];
  return `${unit === 0 ? value : value.toPrecision(3)} ${units[unit]}`;
}
