/** The page of the experiment on state collapse. */
import type { CollapseOutcome, CollapseSetting } from "../sweeps/state-collapse/collapse.js";
import { atLength, far, growth, meanOf } from "../sweeps/state-collapse/finding.js";
import { positionChart, type PositionPoint } from "./charts.js";
import { document, escape, figure, htmlTable, legend } from "./html.js";

const percent = (share: number): string => (100 * share).toFixed(1);
const ofSize = (outcomes: readonly CollapseOutcome[], dState: number): readonly CollapseOutcome[] =>
  outcomes.filter((one) => one.dState === dState);

/** Two figures a size of the state, a table, and how the models were trained. */
export function stateCollapsePage(outcomes: readonly CollapseOutcome[], setting: CollapseSetting): string {
  const { stream, steps, tokens, learningRate, dModel, nLayers, longest, sequences, stretch } = setting;
  const sizes = [...new Set(outcomes.map(({ dState }) => dState))];
  const lengths = [...new Set(outcomes.map(({ trained }) => trained))];
  const seeds = new Set(outcomes.map(({ seed }) => seed)).size;
  const ways = outcomes[0]!.curves.map(({ mitigation }) => mitigation);
  const names = lengths.map((length) => `trained to ${length}`);
  const text = `Mamba-2 (${nLayers} layers of ${dModel} channels, heads of 16) on streams of pairs of a key and its value, ${stream.keys} of each: the value is due where the key was among the last ${stream.memory} pairs; older values are drawn anew, so that nothing has to be remembered for longer than ${2 * stream.memory} tokens. ${steps} steps of ${tokens} tokens at a rate of ${learningRate}, from the start of a stream to the training length; ${seeds} ${seeds === 1 ? "seed" : "seeds"}. Read on ${sequences} new streams to ${longest} tokens. A guess is ${percent(1 / stream.keys)} %.`;
  const methods = `Less retention: every ${stretch} tokens the state is multiplied by e^(-${stretch} / training length). Norm limit: the state of a head is scaled down to the largest norm at the training length. Window: every half training length, at least ${stretch} tokens, the state becomes that of as many last tokens alone, the difference h_t - (a .. a) h_(t-r). The formulas follow the paper's text; its code does not contain them.`;
  const sections = sizes.map((dState) => {
    const own = ofSize(outcomes, dState);
    const trainedTo = lengths.filter((length) => own.some(({ trained }) => trained === length));
    return `<section><h2>A state of N = ${dState}</h2>${legend(names)}<div class="figures">${figure(
      "Values that are right",
      positionChart(
        own.flatMap(({ trained, seed, curves }) => pointsOf(`trained to ${trained}`, seed, curves[0]!)),
        names,
        { label: "right values (%)", log: false },
      ),
    )}${figure(
      "The head whose state grew most, over its size at the training length",
      positionChart(
        own.flatMap(({ trained, seed, curves }) => growthOf(`trained to ${trained}`, seed, curves[0]!, trained)),
        names,
        { label: "size of the state", log: true },
      ),
    )}</div>${legend(ways)}<div class="figures">${trainedTo
      .filter((_, k) => k === 0 || k === trainedTo.length - 1)
      .map((length) =>
        figure(
          `Kept in bounds, trained to ${length}`,
          positionChart(
            own
              .filter(({ trained }) => trained === length)
              .flatMap(({ seed, curves }) => curves.flatMap((curve) => pointsOf(curve.mitigation, seed, curve))),
            ways,
            { label: "right values (%)", log: false },
          ),
        ),
      )
      .join("")}</div></section>`;
  });
  return document(
    "State collapse",
    `<main><section><p>${escape(text)}</p><p>${escape(methods)}</p></section>${sections.join("")}${table(outcomes, sizes, lengths, ways)}</main>`,
  );
}

type Curve = CollapseOutcome["curves"][number];

const pointsOf = (name: string, seed: number, { positions, accuracy }: Curve): PositionPoint[] =>
  positions.map((position, k) => ({ name, line: `${name}, seed ${seed}`, position, value: 100 * accuracy[k]! }));

function growthOf(name: string, seed: number, { positions, states }: Curve, trained: number): PositionPoint[] {
  const [then, last] = [states[positions.indexOf(trained)]!, states.at(-1)!];
  const ratios = last.map((size, head) => size / then[head]!);
  const head = ratios.indexOf(Math.max(...ratios));
  return positions.map((position, k) => ({
    name,
    line: `${name}, seed ${seed}`,
    position,
    value: states[k]![head]! / then[head]!,
  }));
}

function table(
  outcomes: readonly CollapseOutcome[],
  sizes: readonly number[],
  lengths: readonly number[],
  ways: readonly string[],
): string {
  const cells = sizes.flatMap((dState) =>
    lengths.flatMap((trained) => {
      const own = ofSize(outcomes, dState).filter((one) => one.trained === trained);
      if (own.length === 0) return [];
      return [
        [
          String(dState),
          String(trained),
          percent(meanOf(own.map(({ curves }) => atLength(curves[0]!, trained)))),
          meanOf(own.map(({ curves }) => growth(curves[0]!, trained))).toPrecision(3),
          ...ways.map((_, k) => percent(meanOf(own.map(({ curves }) => far(curves[k]!))))),
        ],
      ];
    }),
  );
  const columns = [
    { title: "N", number: true },
    { title: "training length", number: true },
    { title: "at that length (%)", number: true },
    { title: "growth", number: true },
    ...ways.map((way) => ({ title: way === "none" ? "far beyond (%)" : `${way} (%)`, number: true })),
  ];
  return `<section><h2>Means over seeds</h2>${htmlTable({ columns, cells })}</section>`;
}
