/** The worker and what it has said so far. */
import { useEffect, useRef, useState } from "preact/hooks";
import type { DeviceChoice } from "../address.js";
import type { Answer, DeviceReport, LiveTrial, ReadSequence, Request } from "./messages.js";

/** Training in this page. */
export interface Training {
  /** Trials by identity, in the order they were started in. */
  readonly trials: readonly LiveTrial[];
  readonly device: DeviceReport | undefined;
  /** Whether the worker is at work. */
  readonly busy: boolean;
  readonly error: string | undefined;
  /** The last sequence that was read, and how far the next one is, 0 to 1. */
  readonly read: ReadSequence | undefined;
  readonly reading: number | undefined;
  start(trials: readonly string[]): void;
  stop(): void;
  /** Reads a sequence of the test split with a trained model. */
  readSequence(trial: string, sequence: number): void;
}

/** Starts the worker when it is first needed, and listens to it. */
export function useTraining(device: DeviceChoice): Training {
  const worker = useRef<Worker | undefined>(undefined);
  const [trials, setTrials] = useState<readonly LiveTrial[]>([]);
  const [report, setReport] = useState<DeviceReport>();
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string>();
  const [read, setRead] = useState<ReadSequence>();
  const [reading, setReading] = useState<number>();

  const hear = (answer: Answer): void => {
    switch (answer.kind) {
      case "device":
        return setReport(answer.device);
      case "trial":
        return setTrials((before) => withTrial(before, answer.trial));
      case "reading":
        return setReading(answer.done / answer.of);
      case "read":
        setReading(undefined);
        return setRead(answer.read);
      case "error":
        setReading(undefined);
        return setError(answer.message);
      case "idle":
        return setBusy(false);
    }
  };
  const ask = (request: Request): void => {
    if (!worker.current) {
      worker.current = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
      worker.current.addEventListener("message", ({ data }: MessageEvent<Answer>) => hear(data));
      worker.current.addEventListener("error", ({ message }) => {
        setError(`The worker ended: ${message || "it could not be loaded"}; load the page again`);
        setBusy(false);
      });
    }
    worker.current.postMessage(request);
  };
  useEffect(() => () => worker.current?.terminate(), []);
  return {
    trials,
    device: report,
    busy,
    error,
    read,
    reading,
    start(identities) {
      setTrials([]);
      setRead(undefined);
      setError(undefined);
      setBusy(true);
      ask({ kind: "train", trials: identities, device });
    },
    stop: () => ask({ kind: "stop" }),
    readSequence(trial, sequence) {
      setError(undefined);
      setBusy(true);
      setReading(0);
      ask({ kind: "read", trial, sequence });
    },
  };
}

function withTrial(before: readonly LiveTrial[], next: LiveTrial): readonly LiveTrial[] {
  const at = before.findIndex(({ row }) => row.trial === next.row.trial);
  return at < 0 ? [...before, next] : before.with(at, next);
}
