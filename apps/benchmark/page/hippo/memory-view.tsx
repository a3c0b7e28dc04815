/** A memory of a few numbers, kept online, and the past read back from it: draw a signal, drag through time. */
import type { TargetedPointerEvent } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { cpu, type Device } from "@seqmix/tensor";
import { Choice, Slider } from "../field.js";
import { exampleSignal, LENGTH, measures, recall, WINDOW, type Measure, type Recollection } from "./memory.js";

const [WIDTH, HEIGHT] = [800, 260];

/** Draws the signal, the present, and the past as the memory has it. */
export function MemoryView() {
  const [signal, setSignal] = useState(exampleSignal);
  const [measure, setMeasure] = useState<Measure>("legs");
  const [order, setOrder] = useState(16);
  const [time, setTime] = useState(300);
  const recollection = useRecollection(signal, measure, order, time);
  const last = useRef<number | undefined>(undefined);

  /** Draws with the pointer: samples between the last event and this one are filled in. */
  const draw = (event: TargetedPointerEvent<SVGSVGElement>): void => {
    if (event.buttons !== 1) return void (last.current = undefined);
    const box = event.currentTarget.getBoundingClientRect();
    const t = Math.round(((event.clientX - box.left) / box.width) * (LENGTH - 1));
    const value = valueAt(((event.clientY - box.top) / box.height) * HEIGHT);
    if (t < 0 || t >= LENGTH) return;
    const from = last.current ?? t;
    const next = signal.slice();
    const before = signal[from]!;
    for (let k = Math.min(from, t); k <= Math.max(from, t); k++)
      next[k] = from === t ? value : before + ((value - before) * (k - from)) / (t - from);
    last.current = t;
    setSignal(next);
  };
  return (
    <section>
      <h2>What {order} numbers remember of a signal</h2>
      <p>
        A HiPPO memory takes in one sample at a time and keeps only its {order} coefficients: at every moment they are
        the best approximation of the past by {measure === "fourier" ? "waves" : "polynomials"}, under a measure that
        says which past matters. Draw a signal of your own into the picture, and drag the time.
      </p>
      <div class="controls">
        <Choice
          label="measure"
          value={measure}
          options={measures}
          names={{
            legs: "LegS: the whole past alike",
            legt: `LegT: the last ${WINDOW} samples`,
            fourier: `Fourier: the last ${WINDOW} samples`,
          }}
          change={setMeasure}
        />
        <Slider label="coefficients N" value={order} least={1} most={64} change={setOrder} />
        <Slider label="time t" value={time} least={1} most={LENGTH} change={setTime} />
        <button type="button" onClick={() => setSignal(exampleSignal())}>
          Example signal
        </button>
      </div>
      <svg
        class="signal"
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        role="img"
        aria-label="the signal, and its past as read back from the memory"
        onPointerDown={draw}
        onPointerMove={draw}
      >
        <rect class="future" x={x(time - 1)} y="0" width={Math.max(0, WIDTH - x(time - 1))} height={HEIGHT} />
        <path class="given" d={path(Array.from(signal.keys()), signal)} />
        {recollection && <path class="recalled" d={path(recollection.positions, recollection.values)} />}
        <line class="now" x1={x(time - 1)} x2={x(time - 1)} y1="0" y2={HEIGHT} />
      </svg>
      <ul class="legend">
        <li>
          <span style="background: var(--muted)" /> the signal
        </li>
        <li>
          <span style="background: var(--series-1)" /> its past, read back from {order} numbers
          {recollection && `, root mean square error ${error(signal, recollection).toFixed(3)}`}
        </li>
      </ul>
      {recollection && (
        <figure>
          <figcaption>The memory at time {time}</figcaption>
          <svg class="bars" viewBox={`0 0 ${WIDTH} 120`} role="img" aria-label="coefficients as bars">
            {Array.from(recollection.coefficients, (value, n) => {
              const width = WIDTH / recollection.coefficients.length;
              const most = Math.max(...Array.from(recollection.coefficients, Math.abs), 1e-9);
              const height = (Math.abs(value) / most) * 56;
              return (
                <rect key={n} x={n * width + 1} width={width - 2} y={value > 0 ? 60 - height : 60} height={height} />
              );
            })}
          </svg>
        </figure>
      )}
    </section>
  );
}

/** The newest recollection; while one is computed, the last one stays. */
function useRecollection(
  signal: Float32Array,
  measure: Measure,
  order: number,
  time: number,
): Recollection | undefined {
  const device = useRef<Device | undefined>(undefined);
  const [shown, setShown] = useState<Recollection>();
  useEffect(() => {
    device.current = cpu({ threads: 1 });
    return () => void device.current?.close();
  }, []);
  useEffect(() => {
    let current = true;
    void recall(signal, measure, order, time, device.current!).then((next) => current && setShown(next));
    return () => void (current = false);
  }, [signal, measure, order, time]);
  return shown;
}

const x = (t: number): number => (t / (LENGTH - 1)) * WIDTH;
const y = (value: number): number => HEIGHT / 2 - (value * HEIGHT) / 2.4;
const valueAt = (height: number): number => ((HEIGHT / 2 - height) * 2.4) / HEIGHT;

function path(positions: readonly number[], values: ArrayLike<number>): string {
  return positions.map((t, k) => `${k === 0 ? "M" : "L"}${x(t).toFixed(1)} ${y(values[k]!).toFixed(1)}`).join("");
}

function error(signal: Float32Array, { positions, values }: Recollection): number {
  const squares = positions.reduce((sum, t, k) => sum + (signal[t]! - values[k]!) ** 2, 0);
  return Math.sqrt(squares / positions.length);
}
