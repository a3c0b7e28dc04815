/** Pick a task and mixers, train them side by side, and watch their curves. */
import { useMemo, useState } from "preact/hooks";
import type { Row } from "../../src/results/results.js";
import { messageOf } from "../../src/commands/usage-error.js";
import { deviceChoices, type Address } from "../address.js";
import { Choice, Field } from "../field.js";
import { exampleTrials, planOf, sharedDefaults, trialsOf, withShared, type Plan } from "./plan.js";
import { registry } from "./registry.js";
import { Results } from "./results.js";
import type { Results as OpenedResults } from "./use-results.js";
import type { Training } from "./use-training.js";

/** What {@link TrainView} needs. */
export interface TrainViewProps {
  readonly address: Address;
  readonly replace: (change: Partial<Address>) => void;
  readonly training: Training;
  readonly results: OpenedResults;
}

/** The form, the buttons, and the results. */
export function TrainView({ address, replace, training, results }: TrainViewProps) {
  const trials = address.trials.length > 0 ? address.trials : exampleTrials;
  const [problem, setProblem] = useState<string>();
  const plan = useMemo(() => attempt(() => planOf(trials, registry)), [trials]);
  const change = (next: Plan): void => {
    const made = attempt(() => trialsOf(next, registry));
    setProblem(made.error);
    if (made.value) replace({ trials: made.value });
  };
  const live = training.trials.map(({ row }) => row);
  return (
    <section>
      <h2>Train side by side</h2>
      {plan.value ? (
        <PlanForm plan={plan.value} change={change} disabled={training.busy} />
      ) : (
        <p class="problem" role="alert">
          {plan.error}
        </p>
      )}
      <details>
        <summary>The trials as text</summary>
        <textarea
          aria-label="trials, one a line"
          rows={trials.length + 1}
          spellcheck={false}
          value={trials.join("\n")}
          onChange={(event) =>
            replace({
              trials: event.currentTarget.value
                .split("\n")
                .map((line) => line.trim())
                .filter((line) => line !== ""),
            })
          }
        />
      </details>
      <div class="controls">
        <Choice
          label="device"
          value={address.device}
          options={deviceChoices}
          names={{ auto: "auto: WebGPU if there is a GPU", webgpu: "WebGPU", cpu: "cpu" }}
          disabled={training.busy}
          change={(device) => replace({ device })}
        />
        {training.busy ? (
          <button type="button" onClick={() => training.stop()}>
            Stop
          </button>
        ) : (
          <button type="button" class="primary" disabled={!plan.value} onClick={() => training.start(trials)}>
            Train
          </button>
        )}
        <ShareButton trials={trials} replace={replace} />
        <button type="button" disabled={live.length === 0} onClick={() => download(live)}>
          Download JSONL
        </button>
        <Field label="open results (or drop them here)">
          <input
            type="file"
            accept=".jsonl,.json,.txt"
            multiple
            onChange={(event) => void results.open(event.currentTarget.files)}
          />
        </Field>
      </div>
      {[training.device?.notice, training.error ?? problem ?? results.problem].map(
        (text, k) =>
          text && (
            <p key={text} class={k === 0 ? "notice" : "problem"} role={k === 0 ? "status" : "alert"}>
              {text}
            </p>
          ),
      )}
      <Results live={training.trials} loaded={results.rows} forget={results.forget} />
    </section>
  );
}

/** Task, mixers and settings. */
function PlanForm({ plan, change, disabled }: { plan: Plan; change: (plan: Plan) => void; disabled: boolean }) {
  const task = registry.tasks.find(({ id }) => id === plan.task)!;
  const first = registry.mixers.find(({ id }) => id === plan.mixers[0]) ?? registry.mixers[0]!;
  const defaults = sharedDefaults(task, first);
  const toggle = (id: string): void => {
    const mixers = plan.mixers.includes(id) ? plan.mixers.filter((each) => each !== id) : [...plan.mixers, id];
    if (mixers.length > 0) change({ ...plan, mixers });
  };
  return (
    <fieldset disabled={disabled}>
      <legend>What to train</legend>
      <Choice
        label="task"
        value={plan.task}
        options={registry.tasks.map(({ id }) => id)}
        change={(id) => change({ ...plan, task: id, shared: {} })}
      />
      <p>
        {task.summary.charAt(0).toUpperCase() + task.summary.slice(1)}. {task.tests}
      </p>
      <div class="mixers" role="group" aria-label="mixers">
        {registry.mixers.map(({ id }) => (
          <label key={id} class="check">
            <input type="checkbox" checked={plan.mixers.includes(id)} onChange={() => toggle(id)} />
            {id}
          </label>
        ))}
      </div>
      <div class="controls">
        {Object.entries(defaults).map(([name, value]) => (
          <Field key={name} label={name}>
            <input
              type="text"
              inputMode={typeof value === "number" ? "decimal" : "text"}
              size={8}
              value={String(plan.shared[name] ?? value)}
              onChange={(event) => change(withShared(plan, name, event.currentTarget.value, defaults))}
            />
          </Field>
        ))}
      </div>
      <details>
        <summary>Settings of each mixer</summary>
        {plan.mixers.map((id) => (
          <Field key={id} label={`${id}: ${describe(id)}`}>
            <input
              type="text"
              class="wide"
              placeholder="name=value;name=value"
              value={plan.own[id] ?? ""}
              onChange={(event) => change({ ...plan, own: { ...plan.own, [id]: event.currentTarget.value } })}
            />
          </Field>
        ))}
      </details>
    </fieldset>
  );
}

/** A mixer's settings with their defaults. */
function describe(id: string): string {
  const { dModel: _, ...own } = registry.mixers.find((mixer) => mixer.id === id)!.config as unknown as Record<
    string,
    unknown
  >;
  return Object.entries(own)
    .map(([name, value]) => `${name}=${String(value)}`)
    .join("; ");
}

/** Copies the address; the trials stand in it also when they are the example. */
function ShareButton({ trials, replace }: { trials: readonly string[]; replace: (change: Partial<Address>) => void }) {
  const [copied, setCopied] = useState(false);
  const copy = async (): Promise<void> => {
    replace({ trials });
    await navigator.clipboard.writeText(location.href);
    setCopied(true);
    setTimeout(() => setCopied(false), 2000);
  };
  return (
    <button type="button" onClick={() => void copy()}>
      {copied ? "Copied" : "Copy link"}
    </button>
  );
}

function download(rows: readonly Row[]): void {
  const text = rows.map((row) => `${JSON.stringify(row)}\n`).join("");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/jsonl" }));
  link.download = "results.jsonl";
  link.click();
  URL.revokeObjectURL(link.href);
}

function attempt<T>(make: () => T): { readonly value?: T; readonly error?: string } {
  try {
    return { value: make() };
  } catch (error) {
    return { error: messageOf(error) };
  }
}
