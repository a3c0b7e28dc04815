/** The duality of recurrences and masked attention, on one input. */
import { useEffect, useState } from "preact/hooks";
import { cpu } from "@seqmix/tensor";
import { Choice, Slider } from "../field.js";
import { HeatMap } from "../heat-map.js";
import { runDuality, STATE, type Duality, type DualitySettings } from "./duality.js";

const start: DualitySettings = { length: 64, chunkSize: 16, decay: 0.9, forget: true };

/** Recurrence, attention matrix and chunks of one input. */
export function DualityView() {
  const [settings, setSettings] = useState(start);
  const [position, setPosition] = useState(40);
  const [shown, setShown] = useState<Duality>();
  const change = (change: Partial<DualitySettings>): void => setSettings({ ...settings, ...change });
  useEffect(() => {
    let current = true;
    const device = cpu({ threads: 1 });
    void runDuality(settings, device)
      .then((duality) => current && setShown(duality))
      .finally(() => device.close());
    return () => void (current = false);
  }, [settings]);
  const { length, chunkSize, decay, forget } = settings;
  const t = Math.min(position, length - 1);
  return (
    <section>
      <h2>One map, three ways to compute it</h2>
      <p>
        A recurrence keeps a matrix S, lets it decay and adds what is new: S<sub>t</sub> = a<sub>t</sub> S<sub>t-1</sub>{" "}
        + k<sub>t</sub> v<sub>t</sub>ᵀ, read by y<sub>t</sub> = q<sub>t</sub>ᵀ S<sub>t</sub>. The same numbers come out
        of attention without softmax, (Q Kᵀ ∘ M) V, where the mask M says what is left at t of what s wrote. Cut into
        chunks, pairs inside a chunk are attention and all that lies before is one state: that is how Mamba-2 trains.
      </p>
      <div class="controls">
        <Slider
          label="positions L"
          value={length}
          least={8}
          most={128}
          step={8}
          change={(length) => change({ length })}
        />
        <Slider
          label="positions in a chunk Q"
          value={chunkSize}
          least={1}
          most={64}
          change={(chunkSize) => change({ chunkSize })}
        />
        <Slider
          label="kept by a step, a"
          value={decay}
          least={0.5}
          most={1}
          step={0.01}
          show={decay.toFixed(2)}
          change={(decay) => change({ decay })}
        />
        <Choice
          label="every 16th step"
          value={forget ? "forgets" : "as the others"}
          options={["forgets", "as the others"]}
          change={(choice) => change({ forget: choice === "forgets" })}
        />
        <Slider label="position t" value={t} least={0} most={length - 1} change={setPosition} />
      </div>
      {shown && shown.mask.length === length * length && (
        <>
          <div class="figures">
            <figure>
              <figcaption>Mask M: what is left at t (row) of what s (column) wrote</figcaption>
              <HeatMap
                values={shown.mask}
                rows={length}
                columns={length}
                largest={1}
                row={t}
                grid={chunkSize}
                label="lower triangular mask of decays"
              />
            </figure>
            <figure>
              <figcaption>Attention matrix Q Kᵀ ∘ M; lines are borders of chunks</figcaption>
              <HeatMap
                values={shown.attention}
                rows={length}
                columns={length}
                row={t}
                grid={chunkSize}
                signed
                label="scores of all pairs times the mask"
              />
            </figure>
            <figure>
              <figcaption>
                State S after position {t}: {STATE * STATE} numbers instead of {t + 1} keys and values
              </figcaption>
              <HeatMap
                values={Array.from({ length: STATE * STATE }, (_, n) => shown.states[t * STATE * STATE + n]!)}
                rows={STATE}
                columns={STATE}
                signed
                label="matrix of the recurrent state"
              />
            </figure>
          </div>
          <div class="scroll">
            <table>
              <thead>
                <tr>
                  <th>algorithm</th>
                  <th class="number">time here</th>
                  <th class="number">largest difference from the recurrence</th>
                  <th>work</th>
                </tr>
              </thead>
              <tbody>
                {shown.runs.map(({ algorithm, milliseconds, difference }) => (
                  <tr key={algorithm}>
                    <td>{algorithm}</td>
                    <td class="number">{milliseconds.toFixed(2)} ms</td>
                    <td class="number">{difference.toExponential(1)}</td>
                    <td>{work[algorithm]}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </>
      )}
    </section>
  );
}

const work = {
  recurrent: "L K V: grows with the length",
  quadratic: "L² (K + V): grows with its square",
  chunked: "L (Q (K + V) + 2 K V): matrix products, and grows with the length",
} as const;
