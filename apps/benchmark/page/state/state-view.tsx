/** A trained model reads a sequence: step through it and see what its state keeps. */
import { useEffect, useState } from "preact/hooks";
import { Choice, Slider } from "../field.js";
import { HeatMap } from "../heat-map.js";
import type { ReadSequence } from "../training/messages.js";
import type { Training } from "../training/use-training.js";

/** Picks a trial of this page and a sequence, and shows the reading. */
export function StateView({ training }: { readonly training: Training }) {
  const names = training.trials.filter(({ state }) => state.step > 0).map(({ row }) => row.trial);
  const [trial, setTrial] = useState("");
  const [sequence, setSequence] = useState(0);
  const chosen = names.includes(trial) ? trial : names[0];
  return (
    <section>
      <h2>What a state keeps</h2>
      <p>
        A recurrent model has only its state to know the past by. Here a model that was trained in this page reads a
        sequence it has never seen, one token at a time. Each token&apos;s vector is also moved a little, to see how far
        the state moves with it: what the state holds of the token. A selective model keeps the tokens it will be asked
        for and passes over the blanks; a time-invariant one has to treat all positions alike.
      </p>
      {chosen === undefined ? (
        <p class="notice">
          Nothing is trained yet: <a href="#/train">train a mixer</a> with a finite state, such as mamba and s4d on
          selective copying, then come back.
        </p>
      ) : (
        <div class="controls">
          <Choice label="trained model" value={chosen} options={names} change={setTrial} disabled={training.busy} />
          <Slider label="sequence of the test split" value={sequence} least={0} most={31} change={setSequence} />
          <button
            type="button"
            class="primary"
            disabled={training.busy}
            onClick={() => training.readSequence(chosen, sequence)}
          >
            Read
          </button>
        </div>
      )}
      {training.reading !== undefined && <progress value={training.reading} max={1} aria-label="reading" />}
      {training.error && (
        <p class="problem" role="alert">
          {training.error}
        </p>
      )}
      {training.read && <ReadingView read={training.read} />}
    </section>
  );
}

function ReadingView({ read }: { readonly read: ReadSequence }) {
  const { tokens, targets, symbols, reading, trial } = read;
  const L = tokens.length;
  // Before the first answer, all that is needed later has to be in the state.
  const before = Math.max(0, targets.findIndex((target) => target !== undefined) - 1);
  const [position, setPosition] = useState(before);
  useEffect(() => setPosition(before), [read]);
  const t = Math.min(position, L - 1);
  const name = (token: number): string => symbols[token] ?? String(token);
  const row = Array.from({ length: L }, (_, j) => reading.sensitivity[t * L + j]!);
  const most = Math.max(...row, 1e-12);
  const right = targets.filter((target, k) => target !== undefined && target === reading.answers[k]).length;
  const asked = targets.filter((target) => target !== undefined).length;
  return (
    <>
      <h3>
        {trial}: {right} of {asked} answers right
      </h3>
      <div class="controls">
        <Slider label="position" value={t} least={0} most={L - 1} change={setPosition} />
      </div>
      <ol class="tokens" aria-label="the sequence">
        {tokens.map((token, j) => (
          <li key={j} class={j === t ? "now" : j > t ? "ahead" : undefined}>
            <button type="button" onClick={() => setPosition(j)} aria-label={`position ${j}, token ${name(token)}`}>
              <span class="bar" style={{ height: `${j > t ? 0 : Math.round((row[j]! / most) * 48)}px` }} />
              <span>{name(token)}</span>
              {targets[j] !== undefined && (
                <span class={reading.answers[j] === targets[j] ? "right" : "wrong"}>{name(reading.answers[j]!)}</span>
              )}
            </button>
          </li>
        ))}
      </ol>
      <p>
        Bars: how much of each token the state holds after position {t}. Below the tokens: what the model says where it
        is asked, green if right.
      </p>
      <div class="figures">
        <figure>
          <figcaption>After each position (row), what is held of each token (column)</figcaption>
          <HeatMap
            values={reading.sensitivity}
            rows={L}
            columns={L}
            row={t}
            label="how much of each token the state holds after each position"
          />
        </figure>
        {reading.states[t]!.map(({ rows, columns, values }, layer) => (
          <figure key={layer}>
            <figcaption>
              State of layer {layer} after position {t}: {rows} by {columns}
            </figcaption>
            <HeatMap values={values} rows={rows} columns={columns} signed label={`state of layer ${layer}`} />
          </figure>
        ))}
      </div>
    </>
  );
}
