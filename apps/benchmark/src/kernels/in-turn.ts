/** Measures cases one after another; what is found is saved after each. */
import type { BenchmarkCase } from "./contestant.js";
import type { KernelReport, KernelRow, NotRun } from "./row.js";

/** What was found so far. */
export type Found = Pick<KernelReport, "rows" | "notRun">;

/** How a case is measured. */
export interface InTurn {
  /** Why it cannot be, on this device. */
  missing(case_: BenchmarkCase): string | undefined;
  rowsOf(case_: BenchmarkCase, title: string): Promise<readonly KernelRow[]>;
  /** Called after every case, so that a run that is ended loses the case it was in alone. */
  save(found: Found): void;
}

/** @returns What the last `save` was given. */
export async function measureInTurn(
  cases: readonly BenchmarkCase[],
  { missing, rowsOf, save }: InTurn,
): Promise<Found> {
  const rows: KernelRow[] = [];
  const notRun: NotRun[] = [];
  const found = (): Found => ({ rows, ...(notRun.length > 0 && { notRun }) });
  for (const [k, each] of cases.entries()) {
    const { kernel, shape, mode } = each;
    const title = `[${k + 1}/${cases.length}] ${kernel} ${shape} ${mode}`;
    const reason = missing(each);
    if (reason === undefined) rows.push(...(await rowsOf(each, title)));
    else {
      console.log(`${title}: not run: ${reason}`);
      notRun.push({ kernel, shape, mode, reason });
    }
    save(found());
  }
  return found();
}
