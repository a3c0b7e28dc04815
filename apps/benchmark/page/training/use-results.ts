/** Rows of files that were opened or dropped, wherever on the page. */
import { useEffect, useState } from "preact/hooks";
import { messageOf } from "../../src/commands/usage-error.js";
import type { Row } from "../../src/results/results.js";
import { readRows } from "./read-rows.js";

/** Results from files. */
export interface Results {
  readonly rows: readonly Row[];
  /** What was wrong with the last file. */
  readonly problem: string | undefined;
  open(files: FileList | null | undefined): Promise<void>;
  forget(): void;
}

/** @param shown Called when files were dropped, so that the view with the results comes to the front. */
export function useResults(shown: () => void): Results {
  const [rows, setRows] = useState<readonly Row[]>([]);
  const [problem, setProblem] = useState<string>();
  const open = async (files: FileList | null | undefined): Promise<void> => {
    for (const file of files ?? []) {
      const read = await readFile(file);
      // A file that is opened again does not count twice.
      setRows((before) => [...new Map([...before, ...read.rows].map((row) => [identityOf(row), row])).values()]);
      setProblem(read.problem);
    }
  };
  // A file that is dropped beside the form would take the page's place in the browser, and end what trains there.
  useEffect(() => {
    const over = (event: DragEvent): void => event.preventDefault();
    const drop = (event: DragEvent): void => {
      event.preventDefault();
      if (!event.dataTransfer?.files.length) return;
      void open(event.dataTransfer.files);
      shown();
    };
    addEventListener("dragover", over);
    addEventListener("drop", drop);
    return () => {
      removeEventListener("dragover", over);
      removeEventListener("drop", drop);
    };
  }, [shown]);
  const forget = (): void => {
    setRows([]);
    setProblem(undefined);
  };
  return { rows, problem, open, forget };
}

const identityOf = ({ trial, machine, finished }: Row): string => JSON.stringify([trial, machine, finished]);

async function readFile(file: File): Promise<{ readonly rows: readonly Row[]; readonly problem?: string }> {
  try {
    const { rows, others } = readRows(await file.text());
    if (others === 0) return { rows };
    return {
      rows,
      problem: `Expected lines of results in ${file.name}, got ${others} that are none; the rest is shown`,
    };
  } catch (error) {
    return { rows: [], problem: messageOf(error) };
  }
}
